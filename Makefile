# Everything that people and CI run. `make` alone lists the targets.
#
# `.uv/` holds a pinned uv, `.venv/` the locked dependencies, `.cache/` the npm clients that the tests drive.
# Model weights go to the user's cache folder and are downloaded once.

PYTHON     ?= python3
MODEL      ?= qwen2.5-coder-1.5b-instruct
SMALL      := smollm2-135m-instruct
LARGE      := qwen2.5-coder-1.5b-instruct
UV_VERSION := 0.13.8
TORCH      := 2.13.0

UV         := .uv/bin/uv
BIN        := .venv/bin
UV_STAMP   := .uv/uv-$(UV_VERSION)
VENV_STAMP := .venv/synced
NPM_STAMP  := .cache/clients/installed
EXTRAS     := .venv/extras.txt
ARGS       ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-train model try test test-native test-train test-clients test-large test-windows lint format check bench bench-server bench-neighbour bench-injections bench-claims bench-training bench-rearranged docs build clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(UV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tools-server needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one and run: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV_STAMP): $(UV_STAMP) pyproject.toml uv.lock
	@for tool in cc c++ cmake; do command -v $$tool >/dev/null || { \
	  echo "\`$$tool\` is missing: llama.cpp is compiled for this machine and needs a C and C++ compiler and CMake." >&2; \
	  echo "Debian, Ubuntu: apt install build-essential cmake · Fedora: dnf install gcc-c++ cmake · macOS: xcode-select --install && brew install cmake" >&2; \
	  exit 1; }; done
	@echo "Installing the locked dependencies (the first time, compiling llama.cpp takes some minutes) …"
	$(UV) sync --locked --inexact --python $(PYTHON)
	@touch $@

setup: $(VENV_STAMP)  ## virtual environment with the locked dependencies

# Torch comes through pip, which knows the user's own index and wheels, and so the CPU build where there is one; all else
# is locked. It lies beside what `make setup` syncs and is left alone by it.
$(EXTRAS): $(VENV_STAMP)
	@echo "Installing what training needs (torch: some hundred MB) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$(TORCH)"
	$(UV) export --locked --quiet --no-hashes --no-emit-project --no-default-groups --extra train --prune torch -o $@.part
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -r $@.part
	@mv $@.part $@

setup-train: $(EXTRAS)  ## what `tools-server train` needs besides: torch, transformers, peft

model: setup  ## download and verify MODEL (default: qwen2.5-coder-1.5b-instruct)
	@$(BIN)/tools-server models pull $(MODEL) >/dev/null

try: model  ## see it work: an MCP client calls three skills on sample files (MODEL=smollm2-135m-instruct: light)
	@$(BIN)/python examples/try_it.py --model $(MODEL)

test: setup  ## all tests but those with npm clients or the large model
	@$(BIN)/tools-server models pull $(SMALL) >/dev/null
	$(BIN)/python -m pytest -m "not clients and not large" $(ARGS)

test-native: setup  ## only the tests that run the small real model
	@$(BIN)/tools-server models pull $(SMALL) >/dev/null
	$(BIN)/python -m pytest -m "native and not clients and not large" $(ARGS)

$(NPM_STAMP): tests/clients/package.json
	mkdir -p .cache/clients
	cp tests/clients/package.json .cache/clients/package.json
	cd .cache/clients && npm install --no-audit --no-fund --no-package-lock --loglevel=error
	@touch $@

test-train: $(EXTRAS)  ## only the tests that train and evaluate (tests/training)
	@$(BIN)/tools-server models pull $(SMALL) >/dev/null
	$(BIN)/python -m pytest tests/training tests/unit/training tests/unit/evals tests/unit/data $(ARGS)

test-clients: setup $(NPM_STAMP)  ## drive real MCP clients from npm (no account, no model service needed)
	@$(BIN)/tools-server models pull $(SMALL) >/dev/null
	$(BIN)/python -m pytest -m clients $(ARGS)

test-large: setup  ## the tests that need the default 1.5B model
	@$(BIN)/tools-server models pull $(LARGE) >/dev/null
	$(BIN)/python -m pytest -m large $(ARGS)

test-windows:  ## the tests of what Windows has of its own (WINDOWS_PYTHON: a Windows Python with tools-server's packages)
	@test -n "$(WINDOWS_PYTHON)" || { echo "Say which one: make test-windows WINDOWS_PYTHON=\"wine python.exe\"" >&2; exit 1; }
	$(WINDOWS_PYTHON) -m pytest -p no:cacheprovider tests/host tests/unit/inputs $(ARGS)

lint: setup  ## ruff, pyright, import contracts, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pyright --pythonplatform Windows --level error tools_server/host tools_server/inputs
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With npm the real clients are part of the one test run, so that its closing line counts everything.
ifneq ($(shell command -v npm 2>/dev/null),)
CLIENTS := $(NPM_STAMP)
CHECKED := not large
else
CLIENTS :=
CHECKED := not clients and not large
endif

check: $(EXTRAS) lint $(CLIENTS)  ## what CI runs: lint, then all tests (with npm clients where npm is installed)
	$(if $(CLIENTS),,@echo "npm is not installed: the tests with real clients are left out.")
	@$(BIN)/tools-server models pull $(SMALL) >/dev/null
	$(BIN)/python -m pytest -m "$(CHECKED)" $(ARGS)

bench: setup  ## compare with a bare llama.cpp loop and with Outlines (ARGS="--model …")
	$(UV) sync --locked --inexact --python $(PYTHON) --group bench
	$(BIN)/python -m bench $(ARGS)

bench-server: setup  ## compare with llama.cpp's own programs, which are built first (ARGS="--as bf16 …")
	$(UV) sync --locked --inexact --python $(PYTHON) --group bench
	$(BIN)/python -m bench --only server,ceiling,clients $(ARGS)

bench-neighbour: setup  ## measure calls beside busy compilers, and the compilers beside calls
	$(UV) sync --locked --inexact --python $(PYTHON) --group bench
	$(BIN)/python -m bench --only neighbour $(ARGS)

bench-injections: setup  ## measure what injected instructions do to labels and fields (ARGS="--model …")
	$(BIN)/python -m bench.injections $(ARGS)

bench-claims: setup  ## measure how often what `verify` reports of prose is right (no model; ARGS="--write docs/verifying.md")
	$(BIN)/python -m bench.claims $(ARGS)

bench-training: $(EXTRAS)  ## measure how fast adapters train (ARGS="--model … --write docs/training.md")
	$(BIN)/python -m bench.training $(ARGS)

bench-rearranged: setup  ## measure what rearranging weights at load brings (ARGS="--model …")
	$(BIN)/python -m bench.rearranged $(ARGS)

docs: setup  ## regenerate docs/errors.md, docs/settings.md and docs/cli.md
	$(BIN)/python docs/generate.py

build: setup  ## build sdist and wheel into dist/
	$(UV) build

clean:  ## remove environments, caches and builds (not the downloaded models)
	rm -rf .venv .uv .cache dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
