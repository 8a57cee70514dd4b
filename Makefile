# Everything from a fresh clone: `make train GAME=pong`, `make test`.
GAME ?= pong
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-all test-cuda check fix clean

# The installed environment; rebuilt when the pins or the package's needs change.
.venv/installed: pyproject.toml constraints.txt
	rm -rf .venv
	@echo "installing into .venv, once: some minutes"
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "relic-rl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: .venv/installed
	$(BIN)/relic-rl train $(GAME)

test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-all: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "" -rP

test-cuda: .venv/installed
	RELIC_RL_TEST_CUDA=1 $(BIN)/python -m pytest -m cuda

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
