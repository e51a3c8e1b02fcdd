PYTHON ?= python3
PIP_FLAGS ?= -q
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin

.PHONY: help venv demo table test test-ci test-everywhere test-all slurm-test soak bench bench-data bench-prep bench-metrics bench-losses lint format wheel-check clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

venv: .venv/.installed
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flam_train needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	@echo "making .venv (about 6 GB, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[demo,export,dev]'
	@touch $@

# What a user would type, line by line; README.md explains it.
DEMO := work/demo
demo: venv  ## from formula-made sounds to a trained model, its table and its pictures, 4 minutes on two cores
	@echo "1/5  a bank of formula-made sounds: 16 classes, every instance different, test instances apart"
	@$(BIN)/python data_prep/synthetic.py $(DEMO)/bank --instances 24
	@echo "2/5  mixtures of 10 s with captions; the test captions use phrasings that are never trained on"
	@$(BIN)/python data_prep/simulate.py $(DEMO)/shards/synthetic/train --bank $(DEMO)/bank/train --recipe demo --count 800 --seed 1 --audio wav
	@$(BIN)/python data_prep/simulate.py $(DEMO)/shards/synthetic/test --bank $(DEMO)/bank/test --recipe demo --count 200 --seed 2 \
		--phrasings held_out
	@echo "3/5  training with both objectives"
	@$(BIN)/flam-train experiment=demo shards=$(DEMO)/shards run_dir=$(DEMO)/run overwrite=true
	@echo "4/5  evaluation on unseen instances: trained phrasings, unseen phrasings, retrieval"
	@rm -rf $(DEMO)/results  # of the model of an earlier demo
	@$(BIN)/python eval/sed.py $(DEMO)/run/export $(DEMO)/shards/synthetic/test --phrasings trained held_out --out $(DEMO)/results --plot 1
	@$(BIN)/python eval/retrieval.py $(DEMO)/run/export $(DEMO)/shards/synthetic/test --out $(DEMO)/results
	@echo "5/5  the table"
	@$(BIN)/python eval/table.py $(DEMO)/results --out $(DEMO)/table --figures $(DEMO)/results/heatmaps $(DEMO)/run/curves.png \
		--require sed/trained auroc/macro 0.95 \
		--require sed/held_out auroc/macro 0.90 --require retrieval text_to_audio/R@1 5xchance
	@echo && echo "results  " $(DEMO)/results/*.json && echo "table     $(DEMO)/table.md" && \
		echo "page      $(DEMO)/table.html, with the pictures" && \
		echo "heatmaps " $(DEMO)/results/heatmaps/*.png && echo "curves    $(DEMO)/run/curves.png"

# EXPORT: an export folder, or OpenFLAM's checkpoint file (TOKENIZER: roberta-base, or a folder of its files).
SHARDS ?= shards
OUT ?= results/table
TOKENIZER ?= roberta-base
table: venv  ## the paper's table for EXPORT=..., on what of its sets lies below SHARDS=... [shards]
	@test -n "$(EXPORT)" || { echo "make table EXPORT=runs/x/export (or OpenFLAM's checkpoint file) [SHARDS=shards] [OUT=results/table]" >&2; exit 2; }
	@case "$(EXPORT)" in hf://*) ;; *) test -e "$(EXPORT)" || { echo "EXPORT=$(EXPORT): no such folder or file" >&2; exit 2; } ;; esac
	@test ! -f "$(EXPORT)" || $(BIN)/flam-convert openflam "$(EXPORT)" "$(OUT)/export" --tokenizer "$(TOKENIZER)"
	@$(BIN)/python eval/protocols.py "$$(test -f "$(EXPORT)" && echo "$(OUT)/export" || echo "$(EXPORT)")" --shards "$(SHARDS)" --out "$(OUT)" --figures
	@$(BIN)/python eval/table.py "$(OUT)" --paper --out "$(OUT)/table" --figures "$(OUT)/figures"

# Each worker takes whole files, for what their tests share; every test has one thread.
WORKERS ?= 2
test: venv  ## the fast tests, under 6 minutes on 2 cores; WORKERS=... [2]
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" tests

test-ci: venv  ## those slow tests that guard most for their time
	$(BIN)/python -m pytest -m "slow and ci" tests

test-everywhere: venv  ## the fast tests on other processors, threads and in reverse: the same outcomes
	$(BIN)/python tests/every_machine.py

test-all: venv  ## every test
	$(BIN)/python -m pytest tests

slurm-test: venv  ## the sbatch files on a SLURM of two nodes on this machine; skipped where it cannot be had
	$(BIN)/python -m pytest -rs tests/slurm

soak: venv  ## half an hour of faults on a run of two processes; its end must be that of one left alone
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/soak.py

# AGAINST=... another checkout (a git worktree of a commit before), measured in turn; SHARDS, EXPERIMENT as flam-train's.
BENCH := work/bench
EXPERIMENT ?= demo
bench: venv  ## a training step and a run, part by part, in float32 and bfloat16; AGAINST=CHECKOUT in turn, in float32
	@test -f $(BENCH)/shards/synthetic/train/manifest.json || { \
		$(BIN)/python data_prep/synthetic.py $(BENCH)/bank --instances 4 && \
		$(BIN)/python data_prep/simulate.py $(BENCH)/shards/synthetic/train --bank $(BENCH)/bank/train --recipe demo --count 100 --seed 1 --audio wav; }
	@for precision in 32-true bf16-mixed; do echo "$(EXPERIMENT), $$precision"; \
		$(BIN)/python tests/bench/bench_step.py experiment=$(EXPERIMENT) shards=$(if $(filter file,$(origin SHARDS)),$(BENCH)/shards,$(SHARDS)) \
			$(if $(AGAINST),--against $(AGAINST) --against-precision 32-true) --precision $$precision --out $(BENCH)/$(EXPERIMENT)-$$precision.json || exit 1; done

bench-data: venv  ## how much of what decoding allows the loader delivers, and where the rest goes
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/bench/bench_data.py

bench-prep: venv  ## the same for preparing a corpus
	$(BIN)/python tests/bench/bench_prep.py

bench-metrics: venv  ## every metric beside the field's own; PSDS and retrieval at the size of the published sets
	$(BIN)/python tests/bench/bench_metrics.py
	$(BIN)/python tests/bench/bench_psds.py
	$(BIN)/python tests/bench/bench_retrieval.py

bench-losses: venv  ## the frame-wise loss over ranks, gathered and round a ring; what docs/scaling.md foretells
	$(BIN)/python tests/bench/bench_losses.py
	$(BIN)/python tests/bench/scaling_model.py

lint: venv  ## ruff (format and rules) and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv  ## lets ruff write
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## removes what was built, not .venv
	rm -rf build dist work runs *.egg-info

wheel-check: venv  ## the wheel works away from the checkout
	$(BIN)/python tests/packaging/wheel_check.py
