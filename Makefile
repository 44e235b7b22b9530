# Targets for people: quickstart, install-all, test, learn-check, chaos, gpu-check, gpu-wheels. For developers: format,
# lint, type, imports.
PYTHON ?= python3
VENV ?= .venv
# torch is installed by its own line, so that a machine can choose its build, for instance
# `make quickstart TORCH="torch --index-url <your CPU or CUDA index>"`.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart install install-all test learn-check chaos gpu-check gpu-wheels format lint type imports clean

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
SUITES := robotics,atari,minigrid,go,procgen,construction

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
	$(BIN)/python -m pytest -n auto --dist worksteal

learn-check: install
	$(BIN)/python -m benchmarks.learning.check

# Kills, damage, wrong inputs and disturbances; CHAOS="--only wrong --seed 1" chooses.
chaos: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.chaos $(CHAOS)

# Nine minutes on any machine with a CUDA GPU; GPU_CHECK="--device cpu --seconds 120" rehearses. With WHEELS=DIR no
# network is needed: the machine's torch, numpy and einops are used, and the rest comes from DIR.
GPU_VENV := build/gpu-venv
gpu-check: $(if $(WHEELS),$(GPU_VENV)/.installed,install)
	$(if $(WHEELS),$(GPU_VENV)/bin,$(BIN))/python -m benchmarks.gpu $(GPU_CHECK)

$(GPU_VENV)/.installed: benchmarks/gpu/wheels.txt
	$(PYTHON) -m benchmarks.gpu.environment $(GPU_VENV) $(WHEELS)
	touch $@

# Where there is a network: gather those wheels for Python 3.12 on Linux, some 10 MB.
gpu-wheels: WHEELS ?= build/gpu-wheels
gpu-wheels: | $(BIN)/python
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version 3.12 --implementation cp \
	  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
	  --requirement benchmarks/gpu/wheels.txt --dest $(WHEELS)
	du -ch $(WHEELS)/*

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(VENV)/.installed-dev
	$(BIN)/mypy expedition envs world_model exploration agents training transfer experiments benchmarks examples

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info
