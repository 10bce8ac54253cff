# Needs only Python 3.11 with venv, and make. Every target sets .venv up first where it is not, or is older than its locks.
.DELETE_ON_ERROR:
.PHONY: venv demo serve test lint bench peers agreement migrations-check lock image-test clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
LOCKS := requirements/dev.txt requirements/torch.txt pyproject.toml
# One core is enough for a test run; two run it in half the time.
TEST_PROCESSES ?= 2

venv: $(READY)

$(READY): $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Shelfcast needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m demo

serve: $(READY)
	$(BIN)/python -m app.cli serve

test: $(READY)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

migrations-check: $(READY)
	$(BIN)/python -m app.database.check

bench: $(READY)
	$(BIN)/python -m benchmarks

# The environment of `python -m benchmarks.peers`: other people's forecasters, none of which the service needs.
peers: .venv-peers/.ready

.venv-peers/.ready: requirements/peers.txt requirements/torch.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/peers.txt
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	touch .venv-peers/.ready

# Our metrics beside those of the package fev.
agreement: .venv-peers/.ready
	.venv-peers/bin/python -m benchmarks.peers.agreement

image-test: $(READY)
	$(BIN)/python -m tests.image

# Write the lock files anew from pyproject.toml and peers.in: the newest versions that fit together.
lock: $(READY)
	$(BIN)/python requirements/lock.py

clean:
	rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis
