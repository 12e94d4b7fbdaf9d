# make demo    install into .venv and run the main job on the embedded toy corpus
# make test    install what the tests need and run them, a process for each core
# make test-offline    the same where there is no network at all (a network namespace of Linux)
# make test-oldest, make test-newest    the same with the oldest and the newest torch and torchaudio
#              that are supported, each in an environment of its own (some gigabytes)
# make lint    formatting, style and types (part of `make test` in CI)
#
# PYTHON=python3.13 make demo    takes another interpreter (3.11 to 3.14)
# TORCH='2.11.*' make demo    takes that torch and torchaudio, not the newest (with 0.8 GB less of CUDA)
# TESTS="tests/evaluation/test_runs.py -k head" make test    runs some of the tests

PYTHON ?= python3
VENV ?= .venv
TESTS ?=
# Both ends of the range in setup.cfg. TORCH and TORCHAUDIO say which pair goes into VENV; empty: pip
# chooses. torchaudio has come to its end at 2.11 and goes with the newer torch.
OLDEST := 2.8.*
NEWEST := 2.14.*
NEWEST_AUDIO := 2.11.*
TORCH ?=
TORCHAUDIO ?= $(TORCH)
PAIR := $(if $(TORCH),'torch==$(TORCH)' 'torchaudio==$(TORCHAUDIO)')
BIN := $(VENV)/bin
# A process for each core takes whole files, in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
# Small matrices on few cores: more threads than cores make them fight each other.
export TOKENIZERS_PARALLELISM := false
# What waits for others sleeps meanwhile, and leaves its core to them.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-offline test-oldest test-newest lint clean

demo: $(VENV)/.installed
	@$(BIN)/barlow-speech demo

test: $(VENV)/.installed-test
	@$(PYTEST) $(TESTS)

# Only the loopback device is left: Ray and the tests of several processes talk over it.
test-offline: $(VENV)/.installed-test
	@unshare --map-root-user --net sh -c 'ip link set lo up && exec "$$@"' - \
		$(PYTEST) $(TESTS)

test-oldest:
	@$(MAKE) --no-print-directory test VENV=.venv-oldest TORCH='$(OLDEST)'

test-newest:
	@$(MAKE) --no-print-directory test VENV=.venv-newest TORCH='$(NEWEST)' \
		TORCHAUDIO='$(NEWEST_AUDIO)'

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tests/check_types.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else "error: Python %d.%d is not supported, only 3.11 to 3.14; run: make PYTHON=python3.13" % v)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) (PyTorch is large: some minutes on the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check $(PAIR) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --disable-pip-version-check $(PAIR) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build *.egg-info results
