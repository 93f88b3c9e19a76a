# `make demo` and `make test` work on a fresh clone: they create .venv and install into it first.
# Another Python: make env PYTHON=/path/to/python3.13

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
ALL := $(VENV)/.installed-all
PYTHON ?=
DEMO_FLAGS ?=
TEST_FLAGS ?= -n 2

.PHONY: help env demo test lint types bench book
help:
	@echo "make demo    fit a one-hot HMM-GLM to a recording and write report/report.html"
	@echo "make test    run the tests"
	@echo "make lint    check the style (ruff)"
	@echo "make types   check the types (pyright)"
	@echo "make bench   time the kernels beside dynamax and hmmlearn"
	@echo "make book    build the documentation into site/"
	@echo "make env     only create .venv and install everything"

env: $(ALL)

# The demonstration needs none of the tools and peers that the tests need.
demo: $(CORE)
	$(BIN)/latentgate demo $(DEMO_FLAGS)

test: $(ALL)
	$(BIN)/python -m pytest $(TEST_FLAGS)

lint: $(ALL)
	$(BIN)/ruff check .

types: $(ALL)
	$(BIN)/pyright

bench: $(ALL)
	$(BIN)/python benchmarks/discrete.py

book: $(ALL)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(ALL): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,peers,notebooks,book]"
	# The oracle of the benchmark's metrics asks for a pandas of 2021, which it does not need.
	$(BIN)/python -m pip install --quiet --no-deps nlb_tools==0.0.4
	touch $(CORE) $@

$(BIN)/python:
	@python=$$(sh .ci/find-python $(PYTHON)) && echo "creating $(VENV) with $$python" && "$$python" -m venv $(VENV)
