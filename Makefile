# make demo   five callers, five tenants' data, on this machine alone
# make test   everything the continuous integration runs, but the linters
# make lint   ruff, mypy (strict), pyright (the public API)
# make bench  one table of ratios, each against its baseline in the same run
# make storm  100,000 hostile scopes over 200 tenants, directly and through PgBouncer: nothing may leak

PYTHON ?= $(shell sh .ci/find-python)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint format bench storm clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml .ci/find-python
	@test -n "$(PYTHON)" || { echo "tenantry needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || { echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[demo]" --group dev
	@touch $@

demo: setup
	$(BIN)/tenantry demo

test: setup
	$(BIN)/python -m pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m bench $(ARGS)

storm: setup
	$(BIN)/python -m tests.postgres.storm $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
