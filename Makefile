# Everything from a fresh clone: `make install`, `make train GAME=pong`, `make test`.
GAME ?= pong
PYTHON ?= python3
BIN := .venv/bin

.PHONY: gpu-report install train test test-all test-cuda check fix clean

# What training needs; rebuilt when the pins or the package's needs change.
.venv/installed: pyproject.toml constraints.txt
	rm -rf .venv
	@echo "installing into .venv, once: some minutes"
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "relic-rl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# What tests and checks need beside it.
.venv/developer: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: .venv/installed

train: .venv/installed
	$(BIN)/relic-rl train $(GAME)

test: .venv/developer
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-all: .venv/developer
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "" -rP \
	  -o faulthandler_timeout=3600

test-cuda: .venv/developer
	RELIC_RL_TEST_CUDA=real $(BIN)/python -m pytest -m cuda

# One page to paste into an issue: nobody has measured a GPU yet. A quarter of an hour.
gpu-report: .venv/developer
	{ nvidia-smi; $(BIN)/relic-rl doctor --preset workstation; \
	RELIC_RL_TEST_CUDA=real $(BIN)/python -m pytest -m cuda -q --no-header --tb=line; \
	$(BIN)/relic-rl bench --preset workstation --parts ceilings acting learner end_to_end; \
	echo; echo "The same with CUDA graphs:"; \
	$(BIN)/relic-rl bench --preset workstation --parts acting end_to_end \
	  --learner.cuda_graph true --actor.cuda_graph true; \
	} 2>&1 | tee gpu-report.txt

check: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
