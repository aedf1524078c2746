# On a fresh machine: Python 3.11 or newer and make. Every target builds what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: help demo test lint types bench bench-compare docs dist clean
.DEFAULT_GOAL := help

help:
	@echo "make demo           the guided tour, on the handwritten digits; pictures into build/"
	@echo "make test           ruff, mypy and every test (WORKERS=$(WORKERS) processes)"
	@echo "make bench          asv on the last commit"
	@echo "make bench-compare  asv: the last commit against main~1"
	@echo "make docs           the documentation, into site/"
	@echo "make dist           sdist and wheel, into dist/, tried in an empty environment"
	@echo "make clean          remove $(VENV) and everything that was built"

# A stamp per set of extras: a second run installs nothing unless pyproject.toml has changed.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fastgradcheck needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing what $* needs into $(VENV); the first time it takes a minute or two ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/python -m fastgradcheck demo --output build

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/test.stamp
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup

bench: $(VENV)/bench.stamp
	$(BIN)/asv machine --yes
	$(BIN)/asv run 'HEAD^!'

bench-compare: $(VENV)/bench.stamp
	$(BIN)/asv machine --yes
	$(BIN)/asv continuous main~1 HEAD

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

dist: $(VENV)/release.stamp $(VENV)/test.stamp
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m studies.wheel dist/*.whl

clean:
	rm -rf $(VENV) .asv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
