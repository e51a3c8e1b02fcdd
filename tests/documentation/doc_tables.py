"""What the tests of the pages are told: one table for each way in which a line is not taken as it stands.

A row that no line needs any more fails the tests, too.
"""

from __future__ import annotations

from needs import ONNX

PLACEHOLDERS = {
    "KEY=VALUE": "seed=1", "I/N": "1/2", "N": "2",
    "data_prep/NAME.py": "data_prep/clotho.py",
}  # fmt: skip
"""What stands for something that the program checks -> an example. Other names in capitals are values as they are."""

EXEMPT = (
    (r"source \.venv/bin/activate", "the reader's shell"),
    (r"export [A-Z_]+=", "the reader's shell"),
    (r"scontrol|scancel|module load", "the cluster's own programs"),
    (r"hf (upload|auth)", "the hub's own program"),
    (r"--(kill-on-bad-exit|ntasks$|gpus-per-task)", "srun's options"),
)
"""(start of a simple command, why no program parses it)."""

NEEDS = {"docs/sharing.md": ONNX}
"""page -> the mark of what a machine may lack for it."""

EXEMPT_BLOCKS: tuple[tuple[str, str, str], ...] = ()
"""(page, a line of the block of Python, why it cannot be run)."""

TRAINS = r"(flam-train|(python|torchrun).* -m flam_train\.cli\.train)"

OVERRIDES = (
    (TRAINS + r"(?!.* init=)", "model=test text=bytes optim.freeze=[]"),  # those take both from it, but for:
    (TRAINS + r".* init=(HTSAT|630k)", "text=bytes optim.freeze=[]"),  # no text tower, no tokenizer
    (
        TRAINS,
        "steps<=2 global_batch<=2 frame_batch<=2 weak_batch<=2 optim.warmup_steps=1 data.workers=0 "
        "overwrite=true trainer.accelerator=cpu trainer.validate_every=2 trainer.checkpoint_every=2 "
        "trainer.pictures=1",
    ),
    (r"flam-train -m", "seed=0,1 optim.lr=1e-3"),
    (r"flam-convert clap .* --tokenizer", "--tokenizer clap-htsat-unfused"),
    (r"flam-detect run .* --device cuda", "--device cpu"),
    (r"torchrun .*--nproc-per-node", "--nproc-per-node 2"),
    (r"python data_prep/synthetic\.py", "--instances 2 --backgrounds 3 --processes 1"),
    (r"python data_prep/simulate\.py", "--count 8 --processes 1"),
    (r"python data_prep/(?!synthetic|simulate|merge)", "--processes 1 --quiet"),
    (r"python data_prep/audioset_strong\.py", "--subset --max-missing 0.5"),
    (r"python data_prep/.* --part 1/8", "--part 1/2", "--part 2/2"),
    (r"(flam-eval |python eval/)protocols", "--shards sets"),
    (r"make table", "SHARDS=sets"),
    (r"python eval/zero_shot\.py EXPORT SHARDS", "SHARDS->sets/esc50/zero-shot"),
    (
        r"python eval/sed\.py results/scores/sed-NAME",
        "results/scores/sed-NAME.safetensors->results/scores/sed-SHARDS.safetensors",
    ),
    (r"python eval/sed\.py .*--bootstrap", "--bootstrap 20"),
    (r"python eval/sed\.py .*--group site", r"--group (\d)$"),
    (
        r"flam-eval compare A",
        "A.safetensors->results/scores/sed-SHARDS.safetensors B.safetensors->results/scores/sed-SHARDS.safetensors "
        "--bootstrap 20",
    ),
    (r"python eval/table\.py .*--require", "--require sed/trained auroc/macro 0"),
)
"""(start of a command, what is added to it or replaced in it); with several columns it runs once with each.
KEY<=VALUE bounds what the configuration says, A->B is another word."""

NOT_RUN = (
    (r"sbatch ", "there is no SLURM: the files run in tests/slurm, and their arguments are parsed"),
    (r"slurm/local_cluster\.sh|make slurm-test", "installs SLURM: tests/slurm"),
    (r"slurm/sweep\.sh ", "there is no SLURM: tests/slurm, and its arguments are parsed"),
    (r"make venv", "the tests have their environment"),
    (r"srun ", "there is no SLURM: tests/slurm"),
    (r"torchrun --nnodes 2", "two machines"),
    (r"flam-convert checkpoint", "a long run's best step: test_choosing.py"),
    (r"flam-convert (to-)?openflam ", "RoBERTa's weights and tokenizer: test_protocol_commands.py, with random ones"),
    (r"flam-detect calibrate", "a model that has learnt something: test_calibrate_command.py"),
    (r"python eval/sed\.py .*--calibration", "what flam-detect calibrate found: test_calibrated.py"),
    (r"flam-detect run EXPORT - ", "a pipe: test_detect_process.py"),
    (r"tensorboard ", "a server, which does not end"),
    (r"flam-\w+ \w+ hf://", "no hub: test_hub.py plays one"),
    (r"pip install '?flam-train", "the tests have their environment"),
)
"""(start of a command, why it is not run)."""
