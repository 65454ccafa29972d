# Every task is one short command, the same here and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := agent collector shared tests

.PHONY: help demo test check bench format lock proto clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Building the environment in $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## Run the main job end to end with real Xray and real clients, and show it
	@$(BIN)/python -m tests.demo

test: $(READY) ## Run all tests: those of real programs one by one, the others side by side
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal -m "not e2e and not netns"
	@$(BIN)/python -m pytest -q -m "e2e or netns"

check: $(READY) ## Lint, types, import rules
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/architecture

bench: $(READY) ## Measure; the last line is JSON
	@$(BIN)/python -m tests.bench

format: $(READY) ## Format the sources
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

lock: $(READY) ## Pin the newest allowed dependencies with hashes
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --upgrade \
	  --no-emit-index-url --no-header --quiet -o constraints.txt

proto: ## Generate the Xray bindings again (why so old a compiler: see xray.proto)
	@$(PYTHON) -m venv build/proto
	@build/proto/bin/python -m pip install --quiet "grpcio-tools==1.62.3" "setuptools<80"
	@build/proto/bin/python -m grpc_tools.protoc -I agent/drivers/xray --python_out=agent/drivers/xray \
	  agent/drivers/xray/xray.proto

clean: ## Remove what was built here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
