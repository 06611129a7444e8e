# Two commands for a newcomer: `make demo` and `make test`. Both need python3 (3.11 or newer, with venv).
PYTHON ?= python3
BIN := .venv/bin
QUIETLY := --quiet --disable-pip-version-check -c constraints.txt
PIP := $(BIN)/python -m pip install $(QUIETLY)

CMAKE = $(firstword $(wildcard $(BIN)/cmake) cmake)
# A sanitizer sees as much without most optimizations, and such a build takes less than half as long.
FAST_BUILD := -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS='-O1 -g1'
# How threads share work is one source for every instruction set: baseline and AVX2 are looked at for races.
TWO_SETS := -DUNROLLED_COMPILES_AVX512=OFF -DUNROLLED_COMPILES_AVX512_BF16=OFF
# A process a core, and a thread a process: threads of processes that share a core wait for one another.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4
# pip builds with what .venv holds, so that a second build can go on from the first.
BUILD_TOOLS := scikit-build-core nanobind $(foreach t,cmake ninja,$(if $(shell command -v $(t)),,$(t)))
NATIVE := CMakeLists.txt $(wildcard src/unrolled/kernels/csrc/*)

.PHONY: help demo install kernels test test-slow test-clients check driver sanitize bench format docs site clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: .venv/.train  ## train on the ten sentences, sample, plot
	$(BIN)/unrolled train sentences --run runs/sentences --overwrite
	$(BIN)/unrolled sample runs/sentences --length 200 --seed 1
	@echo 'next: after ". $(BIN)/activate", "unrolled" is a command in this shell'

install: .venv/.dev  ## make .venv and install everything a developer needs

kernels: .venv/.dev  ## build the native kernels again, where C++ changed
	$(CMAKE) --build build/editable

test: .venv/.dev .venv/.kernels  ## run the tests
	$(SIDE_BY_SIDE) --dist loadfile

test-slow: .venv/.dev .venv/.kernels  ## run the long tests
	$(SIDE_BY_SIDE) --dist load -m slow

test-clients: .venv-clients/.done .venv/.kernels  ## run other people's programs with our layers
	PYTHONPATH=src OMP_NUM_THREADS=1 .venv-clients/bin/python -m pytest tests/clients tests/stream/test_stream_client.py \
		tests/docs -k 'clients or client or adapters'

check: .venv/.dev  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

driver: .venv/.dev  ## build and run the C++ tests
	$(call run_driver,driver,-DUNROLLED_CHECK_SYMBOLS=ON)

sanitize: .venv/.dev  ## run the C++ tests under address, undefined and thread sanitizers
	$(call run_driver,address,-DUNROLLED_SANITIZE='address;undefined' $(FAST_BUILD))
	$(call run_driver,thread,-DUNROLLED_SANITIZE=thread $(FAST_BUILD) $(TWO_SETS),--cases 100)

bench: .venv/.bench .venv/.kernels  ## measure the layers, beside torch.nn and ONNX Runtime
	$(BIN)/python bench/layers.py

format: .venv/.dev  ## put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.dev  ## write docs/cli.md and docs/api.md from the code
	$(BIN)/python docs/generate.py

site: .venv/.docs  ## build the documentation's site in build/site
	rm -rf build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/python docs/site/check.py build/site

clean:           ## remove .venv and every cache
	rm -rf .venv .venv-core .venv-clients .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/unrolled/kernels/*.so

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.train: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) $(BUILD_TOOLS)
	$(PIP) --no-build-isolation -e '.[train]'
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) $(BUILD_TOOLS)
	$(PIP) --no-build-isolation -e '.[dev]'
	@touch .venv/.train $@

.venv/.bench: .venv/.dev
	$(PIP) --no-build-isolation -e '.[bench]'
	@touch $@

.venv/.docs: .venv/.dev
	$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

# The package itself is read from src, with the kernels that .venv built: only its name is installed here.
# pytorch-forecasting asks for an older pandas than the tests have, and works with this one: without what it asks for.
.venv-clients/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install $(QUIETLY) $(BUILD_TOOLS)
	.venv-clients/bin/python -m pip install $(QUIETLY) --no-build-isolation -C wheel.cmake=false '.[clients]'
	.venv-clients/bin/python -m pip install $(QUIETLY) --no-deps pytorch-forecasting lightning scikit-base
	@touch $@

# pip installs without kernels where the C++ does not compile; here that is an error, unless no compiler is.
.venv/.kernels: .venv/.dev $(NATIVE)
	@if test -f build/editable/cmake_install.cmake; then $(CMAKE) --build build/editable; \
	else echo 'no C++ compiler was found: the tests run without the native kernels'; fi
	@touch $@

# $(call run_driver,folder,settings,arguments of the driver)
define run_driver
	$(CMAKE) -S . -B build/$(1) -DUNROLLED_MODULE=OFF -DUNROLLED_DRIVER=ON $(2)
	$(CMAKE) --build build/$(1) --parallel 4
	build/$(1)/driver $(3)
endef
