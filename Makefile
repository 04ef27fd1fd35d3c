# What there is to do here; `make help` lists it.
BIND ?= 127.0.0.1:8000
DATA ?= ./data
ARGS ?=
ROUNDS ?= 1000
PYTHON ?= python3
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help run test check format bench bench-full chaos clean

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Variables: BIND=$(BIND) DATA=$(DATA) for run, ARGS= for test and bench, PYTHON=$(PYTHON)"

run: .venv/installed ## Install what is needed, make the data folder and the first user, start the server
	@exec .venv/bin/wegent serve --bind "$(BIND)" --data "$(DATA)"

test: .venv/installed-test ## Install what tests need, system packages included, and run all tests
	@tools/test-needs
	@tools/run-tests $(ARGS)

check: .venv/installed-test ## Check format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/installed-test ## Put the code into its format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: .venv/installed-test ## Measure quickly, once: for a first look
	.venv/bin/python -m bench --scenarios 1,2,3 --rounds 1 --quick $(ARGS)

bench-full: .venv/installed-test ## Measure everything, median of three, with floors: about an hour
	.venv/bin/python -m bench --rounds 3 --out bench/results.json $(ARGS)

chaos: .venv/installed-test ## Kill workers and Redis, lose messages: ROUNDS=1000 rounds
	WEGENT_CHAOS_ROUNDS=$(ROUNDS) .venv/bin/python -m pytest -q tests/chaos $(ARGS)

clean: ## Remove what was installed and made here, but no data
	rm -rf .venv tests/node/node_modules bench/.cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each mark is younger than what it was made from, so that what is there already costs nothing.
.venv/installed: pyproject.toml tools/install
	@tools/install
	@touch $@

.venv/installed-test: pyproject.toml tools/install
	@tools/install test,redis,mysql,postgresql
	@touch .venv/installed $@
