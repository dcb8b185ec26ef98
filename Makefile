# make serve  sets everything up and serves the shipped models on 127.0.0.1:$(PORT)
# make test   sets everything up, checks and tests

PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODELS := resnet18 small_cnn
BUNDLES := $(MODELS:%=bundles/%/manifest.json)
PACKAGES := cxr training export service

.PHONY: help serve test check docs format install bundles lock clean
.DELETE_ON_ERROR:

help:
	@echo 'make serve [PORT=8000]  set up and serve the shipped models'
	@echo 'make test               set up, check and test'
	@echo 'make check              format, lint, types, layers, spelling, generated documents'
	@echo 'make docs               write the generated documents anew'
	@echo 'make format             format the code'
	@echo 'make lock               choose the newest versions and write requirements.lock'
	@echo 'make clean              remove the environment and the bundles'

serve: install bundles
	@exec $(BIN)/python -m service serve --host $(HOST) --port $(PORT)

test: check bundles
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check $(PACKAGES) tests docs benchmarks
	$(BIN)/ruff check $(PACKAGES) tests docs benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python docs/generate.py --check

docs: install
	$(BIN)/python docs/generate.py

format: install
	$(BIN)/ruff format $(PACKAGES) tests docs benchmarks
	$(BIN)/ruff check --fix $(PACKAGES) tests docs benchmarks

install: $(STAMP)

bundles: $(BUNDLES)

# Written last, so an interrupted installation is taken up again.
$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'installing locked dependencies into $(VENV) (about 6 GB with CUDA libraries)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

bundles/%/manifest.json: models/%/run.json $(wildcard models/*/explanation.json models/*/int8.json cxr/*.py cxr/explain/*.py cxr/networks/*.py export/*.py export/templates/*) | $(STAMP)
	@$(BIN)/python -m export build --run models/$* --out bundles

lock: install
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --annotation-style line \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) bundles
