# Each target sets up what it needs in .venv, once: make demo · compare · test · bench · check · gpu
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo compare test bench check lint gpu clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train a VQ-VAE on 5,000 real digits and draw what it learned, in $(DEMO)/"
	@echo "make compare put what is claimed of autoencoders and VAEs to the test, in runs/compare-mnist/"
	@echo "make test    lint, types, architecture and tests"
	@echo "make bench   measure against the peers on this machine"
	@echo "make check   hold every operation against the float64 reference on this machine"
	@echo "make gpu     on a CUDA machine: GPU tests, then the suite, then the record"

# torch first and from the constraints: a looser ask would pull gigabytes of CUDA packages onto a CPU machine.
$(VENV)/.train: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.train
	$(BIN)/aevae-fast train vqvae --data mnist --out $(DEMO) --overwrite

compare: $(VENV)/.train
	$(BIN)/aevae-fast compare --data mnist --overwrite

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks --record=benchmarks/results --benchmark-columns=median,iqr,rounds \
		--benchmark-sort=mean --benchmark-name=short
	$(BIN)/python -m benchmarks.report

check: $(VENV)/.train
	$(BIN)/aevae-fast check

# Runs from the source tree with whatever Python holds the CUDA build of torch; a missing peer is skipped and named.
gpu:
	$(PYTHON) -m benchmarks.gpu

clean:
	rm -rf $(VENV) $(DEMO) runs
