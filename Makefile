# make demo   five callers, five tenants' data, on this machine alone
# make test   everything the continuous integration runs, but the linters
# make test-all  the same on the installed wheel, on every Python that is promised (VERSIONS="3.12 3.13" for some)
# make lint   ruff, mypy (strict), pyright (the public API)
# make bench  one table of ratios, each against its baseline in the same run
# make lock   deploy/*.lock anew (ARGS=--upgrade: with the newest versions)
# make fuzz   every parser of what strangers send, for ten minutes (ARGS="--seconds 60" for one)
# make storm  100,000 hostile scopes over 200 tenants, directly and through PgBouncer: nothing may leak

PYTHON ?= $(shell sh .ci/find-python)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-all lint format bench fuzz storm lock clean

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

test-all: setup
	VERSIONS="$(VERSIONS)" .ci/test-all $(ARGS)

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

fuzz: setup
	$(BIN)/python -m tests.fuzz --seconds 600 $(ARGS)

storm: setup
	$(BIN)/python -m tests.postgres.storm $(ARGS)

# What the image installs: exact, hashed, and without the address of whoever it came from.
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate $(ARGS)

lock: setup
	$(LOCK) --extra httpx2 --extra metrics --extra redis --extra mcp pyproject.toml -o deploy/requirements.lock
	$(LOCK) deploy/build.in -o deploy/build.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
