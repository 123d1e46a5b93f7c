.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first Python of at least 3.11 on the path; another one: make PYTHON=/path/to/python demo
PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p; done) python3)
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help demo test test-slurm test-slurm-all check bench wheel clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("cmr_bench needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

demo: $(VENV)/.installed ## Compare three families on three axes, on phantom data: minutes on two cores.
	$(RUN) -m cmr_bench.run -m model=ddpm,ldm,fm

test: $(VENV)/.installed ## Run the tests.
	$(RUN) -m pytest -n 2 --dist loadfile

test-slurm: $(VENV)/.installed ## Start a SLURM cluster on this machine (root, Debian) and run the quick tests on it.
	TEST_SLURM=fast $(RUN) -m pytest tests/slurm

test-slurm-all: $(VENV)/.installed ## The same with all tests: half an hour.
	TEST_SLURM=all $(RUN) -m pytest tests/slurm

check: $(VENV)/.installed ## Lint, format, types and import rules.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.bench ## Measure against other libraries, side by side.
	@for script in tests/bench/bench_*.py; do echo "== $$script"; $(RUN) $$script || exit 1; done

wheel: $(VENV)/.installed ## Build the wheel into dist/.
	$(RUN) -m build --wheel --no-isolation --outdir dist

clean: ## Remove the environment and what the tools left, never results.
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
