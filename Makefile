# make demo    install into .venv and run the main job on the embedded toy corpus
# make test    install what the tests need and run them
# make lint    formatting, style and types (part of `make test` in CI)
#
# PYTHON=python3.12 make demo    takes another interpreter (3.10 to 3.12)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Small matrices on few cores: more threads than cores make them fight each other.
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@$(BIN)/barlow-speech demo

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tests/check_types.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else "error: Python %d.%d is not supported; run make with PYTHON=python3.12 (3.10 to 3.12)." % v)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) (PyTorch is large: some minutes on the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info results
