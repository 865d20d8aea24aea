# make run    install into .venv (once) and run the headline experiment
# make swarm  install what real nodes need (once) and run the headline experiment by four processes
# make test   install the tools too (once) and run all tests
# make test-integrations  the guard in other trainers, each in an environment of its own
# make check  ruff, ruff format, mypy
# make bench  side by side with peers; writes results/bench.json
# make clean  remove .venv and caches; runs/ stays
#
# Arguments go through ARGS:  make run ARGS="--arm attack"    make test ARGS="-k cli"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# Compiled files are kept, also where the environment says otherwise: tests start many processes.
unexport PYTHONDONTWRITEBYTECODE

# A stamp is written only when its install went through, so that a broken one is done again.
BASE := $(VENV)/.installed
NET := $(VENV)/.installed-net
DEV := $(VENV)/.installed-dev

.PHONY: run swarm test test-integrations check bench clean

run: $(BASE)
	@$(BIN)/swarmproof run $(ARGS)

swarm: $(NET)
	@$(BIN)/swarmproof swarm up $(or $(ARGS),text-horizontal --arm logit --seeds 1)

# One torch thread in each worker: they share the cores already. One worker more than cores, since many
# tests wait for processes and servers. A file at a time, so that one worker of pytest starts one Ray
# cluster, in the order of tests/conftest.py.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

test-integrations:
	@PYTHON=$(PYTHON) tests/integrations/environments.sh $(ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .venv-integrations .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "swarmproof needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) (once; takes a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(NET): $(BASE)
	@echo "Installing what real nodes need (once)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[net]'
	@touch $@

$(DEV): $(BASE)
	@echo "Installing the tools for tests and checks (once)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
