# Targets for people: quickstart, install-all, test, learn-check. For developers: format, lint, type, imports.
PYTHON ?= python3
VENV ?= .venv
# torch is installed by its own line, so that a machine can choose its build, for instance
# `make quickstart TORCH="torch --index-url <your CPU or CUDA index>"`.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart install install-all test learn-check format lint type imports clean

quickstart: install
	$(BIN)/expedition study quickstart

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13) and "Expedition needs Python 3.10 to 3.12: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) $(TORCH)
	$(PIP) --editable .
	touch $@

# Procgen without its dependencies, which would take numpy back below 2.
PROCGEN = $(PIP) --no-deps gym3==0.3.3 "$$($(BIN)/python -c 'import sys; print("procgen" if sys.version_info < (3, 11) else "procgen-mirror")')==0.10.7"
SUITES := robotics,atari,minigrid,go,procgen

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev,$(SUITES)]'
	$(PROCGEN)
	touch $@

# Every suite.
install-all: install
	$(PIP) --editable '.[$(SUITES),sokoban]'
	$(PROCGEN)
	$(BIN)/expedition list environments

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

learn-check: install
	$(BIN)/python -m benchmarks.learn_check

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(VENV)/.installed-dev
	$(BIN)/mypy expedition envs world_model exploration agents training transfer experiments benchmarks

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info
