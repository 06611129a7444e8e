# Two commands for a newcomer: `make demo` and `make test`. Both need python3 (3.11 or newer, with venv).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo install test test-slow check format docs clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: .venv/.train  ## train on the ten sentences, sample, plot
	$(BIN)/unrolled train sentences --run runs/sentences --overwrite
	$(BIN)/unrolled sample runs/sentences --length 200 --seed 1

install: .venv/.dev  ## make .venv and install everything a developer needs

test: .venv/.dev  ## run the tests
	$(BIN)/python -m pytest

test-slow: .venv/.dev  ## run the long tests
	$(BIN)/python -m pytest -m slow

check: .venv/.dev  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev  ## put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.dev  ## write docs/cli.md and docs/api.md from the code
	$(BIN)/python docs/generate.py

clean:           ## remove .venv and every cache
	rm -rf .venv .venv-core .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.train: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[train]'
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch .venv/.train $@
