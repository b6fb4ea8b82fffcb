# The words of this house. Two of them are enough: `make run` and `make test`.
#
# PYTHON picks the interpreter the virtual environment is made with; VENV says where it goes.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
# python3 if it is new enough, else the newest one there is; each is asked, for a name on PATH may be a dead shim.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BIND ?= 127.0.0.1:8000
SITE := examples/django_project

.PHONY: help run test lint docs chaos losses bench autobahn clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 8

run: $(VENV)/.installed-run ## serve the example Django project on http://127.0.0.1:8000
	$(BIN)/python $(SITE)/manage.py migrate --verbosity 0
	@echo "The example is on http://$(BIND)/ ; Ctrl-C stops it."
	$(BIN)/python -m arbiter -c $(SITE)/arbiter.conf.py -b $(BIND)

test: lint ## everything that is checked: lint, then all tests
	$(BIN)/python -m pytest -n 4 --dist worksteal $(TESTS)

lint: $(VENV)/.installed-test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-test ## write again the pages made from the code
	$(BIN)/python -m arbiter.config.render --write
	$(BIN)/python -m tests.house.generated --write
	$(BIN)/python -m tests.house.conformance --write

chaos: $(VENV)/.installed-test ## a minute on each worker kind of load amid kills, hangs, reloads (CHAOS="--seed 1")
	$(BIN)/python -m tests.chaos $(CHAOS)

losses: $(VENV)/.installed-test ## what reloads, recycling, stops and kills cost in requests, as a table
	$(BIN)/python -m tests.chaos.losses $(LOSSES)

bench: $(VENV)/.installed-test ## CPU time a request of each worker kind, and of peers (BENCH_PEERS=venv:venv)
	BENCH_PEERS='$(BENCH_PEERS)' $(BIN)/python -m tests.bench $(BENCH)

autobahn: $(VENV)/.installed-test ## the Autobahn|Testsuite against a WebSocket echo (needs Python 2.7)
	$(BIN)/python -m tests.autobahn.run $(AUTOBAHN)

clean: ## remove what was built, the virtual environment too
	rm -rf $(VENV) .venv-autobahn build dist *.egg-info .pytest_cache* .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "arbiter needs Python 3.11 or newer with venv (Debian: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml $(BIN)/python
	$(PIP) install -e . 'django>=5.2'
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(BIN)/python
	$(PIP) install -e '.[test]' 'django>=5.2'
	@touch $@ $(VENV)/.installed-run
