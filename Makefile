PYTHON ?= python3
PIP_FLAGS ?= -q
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin

.PHONY: help venv demo test test-all lint format wheel-check clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

venv: .venv/.installed
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flam_train needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	@echo "making .venv (about 6 GB, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[demo,dev]'
	@touch $@

test: venv  ## the fast tests, under 10 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow" tests

test-all: venv  ## every test
	$(BIN)/python -m pytest tests

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
