# make serve  sets everything up and serves the shipped models on 127.0.0.1:$(PORT)
# make test   sets everything up, checks and tests

PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := deploy/requirements.lock
KSERVE := .kserve
SUPPLY := .supply
SCHEMATHESIS := .schemathesis-env
CHECKERS := .checkers
GENERATORS := .generators
MODELS := resnet18 small_cnn resnet18-ternary
BUNDLES := $(MODELS:%=bundles/%/manifest.json)
WORKERS := 2
PACKAGES := cxr training export service tools

.PHONY: help serve test kserve checkers generators check docs format bench bench-gateway soak siege fuzz crash measure mutants schemathesis rolling fleet audit sbom licences install bundles lock clean
.DELETE_ON_ERROR:

help:
	@echo 'make serve [PORT=8000]  set up and serve the shipped models'
	@echo 'make test               set up, check and test'
	@echo 'make check              format, lint, types, layers, spelling, generated documents'
	@echo 'make docs               write the generated documents anew'
	@echo 'make format             format the code'
	@echo 'make bench              measure beside the in-process limit and two peers (about an hour)'
	@echo 'make bench-gateway      measure the gateway beside other receivers (about ten minutes)'
	@echo 'make soak               ten minutes at capacity among misbehaving clients'
	@echo 'make siege              hostile inputs at every door, held against bars (about seven minutes)'
	@echo 'make fuzz               100,000 damaged files through the readers'
	@echo 'make schemathesis       ten minutes of requests made from the OpenAPI documents'
	@echo 'make rolling            replicas behind nginx through updates and kills (about three minutes)'
	@echo 'make fleet              how many replicas: measure, simulate, write docs/scaling.md'
	@echo 'make crash              200 radiographs while gateway, service and Orthanc are killed'
	@echo 'make mutants            change the code at random and print what no test notices (MUTANTS=--help)'
	@echo 'make audit              known weaknesses of the locked dependencies; ends with 3 if it cannot tell'
	@echo 'make sbom               write sbom.json, the bill of materials (CycloneDX)'
	@echo 'make licences           print the licences of all dependencies; fails on GPL by default'
	@echo 'make lock               choose the newest versions and write $(LOCK)'
	@echo 'make measure            measure the shipped runs anew: scope, populations, heatmaps, int8 (two hours)'
	@echo 'make clean              remove the environments and the bundles'

serve: install bundles
	@CXR_ACCESS=anonymous exec $(BIN)/python -m service serve --host $(HOST) --port $(PORT)

test: check bundles kserve checkers generators $(SCHEMATHESIS)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

check: install
	$(BIN)/ruff format --check $(PACKAGES) tests docs benchmarks deploy
	$(BIN)/ruff check $(PACKAGES) tests docs benchmarks deploy
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python docs/generate.py --check

# Tools in environments of their own, because they ask for other versions, or are no part of what
# they look at. $(1): its folder; $(2): what to do if it cannot be installed.
environment = echo "installing into $(1)" \
  && { { $(PYTHON) -m venv --clear $(1) \
  && $(1)/bin/pip install --quiet --disable-pip-version-check --retries 1 -r $< \
  && touch $(1)/.installed; } || { rm -rf $(1); $(2); }; }
SKIP := echo 'it cannot be installed here: its tests will be skipped' >&2

kserve: $(KSERVE)/.installed
checkers: $(CHECKERS)/.installed
generators: $(GENERATORS)/.installed

$(KSERVE)/.installed: tests/kserve-requirements.txt  # 450 MB
	@$(call environment,$(KSERVE),$(SKIP))

$(CHECKERS)/.installed: tests/checkers-requirements.txt  # checkov and hadolint, 300 MB
	@$(call environment,$(CHECKERS),$(SKIP))

$(GENERATORS)/.installed: tests/generators-requirements.txt  # of clients, 190 MB
	@$(call environment,$(GENERATORS),$(SKIP))

$(SCHEMATHESIS)/.installed: tests/schemathesis-requirements.txt
	@$(call environment,$(SCHEMATHESIS),$(SKIP))

$(SUPPLY)/.installed: tools/supply/requirements.txt
	@$(call environment,$(SUPPLY),exit 1)

docs: install
	$(BIN)/python docs/generate.py

format: install
	$(BIN)/ruff format $(PACKAGES) tests docs benchmarks deploy
	$(BIN)/ruff check --fix $(PACKAGES) tests docs benchmarks deploy

# BENCH='--quick --model resnet18', for instance; see python -m benchmarks run --help
bench: install bundles
	$(BIN)/python -m benchmarks run $(BENCH)

bench-gateway: install bundles
	$(BIN)/python -m benchmarks gateway $(BENCH)

soak: install bundles
	$(BIN)/python -m benchmarks soak $(SOAK)

# SIEGE='--only trailers', for instance; see python -m benchmarks siege --help
siege: install bundles
	$(BIN)/python -m benchmarks siege $(SIEGE)

fuzz: install
	$(BIN)/python -m tests.fuzz $(FUZZ)

crash: install bundles
	$(BIN)/python -m tests.crash $(CRASH)

# MUTANTS='--seed 1 --count 40 --package service/scheduling --tests tests/service', for instance
mutants: install bundles
	$(BIN)/python -m tools.mutants --workers $(WORKERS) $(MUTANTS)

# make itself ends with 2 whatever fails; python -m tools.supply audit tells 1 (found) from 3 (cannot tell).
audit: install $(SUPPLY)/.installed
	$(BIN)/python -m tools.supply audit --tools $(SUPPLY)/bin

sbom: install $(SUPPLY)/.installed
	$(BIN)/python -m tools.supply sbom --tools $(SUPPLY)/bin --out sbom.json

licences: install
	@$(BIN)/python -m tools.supply licences

schemathesis: install $(SCHEMATHESIS)/.installed
	SCHEMATHESIS_TIME_S=300 SCHEMATHESIS_EXAMPLES=1000 $(BIN)/python -m pytest tests/test_openapi.py

rolling: install bundles
	$(BIN)/python -m benchmarks rolling $(ROLLING)

fleet: install bundles
	$(BIN)/python -m benchmarks fleet $(FLEET)

install: $(STAMP)

# Everything a shipped run states beside its weights, on the data sets of docs/data.md.
DATA = $(or $(CXR_SHARED_DATA),../shared/data)
BOTH := resnet18 small_cnn
SEEN = --laterals "lateral=$(DATA)/lateral" \
  --in-scope "DICOM chest=$(DATA)/dicom/chest" --in-scope "original files=$(DATA)/originals" \
  --out-of-scope "DICOM other=$(DATA)/dicom/other" --out-of-scope "DICOM formats=$(DATA)/dicom/formats"
RSNA := rsna_covidqu rsna_lungdisease rsna_normals_matched
ADULTS_DATA = $(if $(filter $*,$(BOTH)),--data $(DATA)/adults/index.csv)
OTHERS = $(if $(filter $*,$(BOTH)),--frontal "adults:adults Hannover=$(DATA)/external/hannover", \
  --others "adults Hannover=$(DATA)/external/hannover" \
  $(foreach set,$(RSNA),--others "adults $(set)=$(DATA)/adults/$(set)"))

measure: $(patsubst %,measure/%,$(MODELS) more/resnet18-children more/resnet18-etiology)

measure/%: | $(STAMP)
	$(BIN)/python -m training limits --run models/$* --data $(DATA)/chest_xray $(ADULTS_DATA) $(OTHERS) $(SEEN) --quiet
	$(BIN)/python -m training faithfulness --run models/$* --data $(DATA)/chest_xray $(ADULTS_DATA) \
	  --localisation $(DATA)/adults/localisation --n 96 --save --quiet
	$(BIN)/python -m export quantize --run models/$* --data $(DATA)/chest_xray $(ADULTS_DATA) --quiet
	$(BIN)/python -m export build --run models/$* --out bundles
	$(BIN)/python -m export reference --run models/$* --bundle bundles/$(notdir $*) --data $(DATA)/chest_xray $(ADULTS_DATA) --quiet

bundles: $(BUNDLES)

# Written last, so an interrupted installation is taken up again.
$(STAMP): $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'installing locked dependencies into $(VENV) (about 6 GB with CUDA libraries)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r $(LOCK)
	@touch $@

bundles/%/manifest.json: models/%/run.json $(wildcard models/*/explanation.json models/*/int8.json models/*/reference.json cxr/*.py cxr/*/*.py export/*.py export/templates/*) | $(STAMP)
	@$(BIN)/python -m export build --run models/$* --out bundles

lock: install
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --annotation-style line \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file $(LOCK) pyproject.toml

clean:
	rm -rf $(VENV) $(KSERVE) $(SUPPLY) $(SCHEMATHESIS) $(CHECKERS) $(GENERATORS) bundles
