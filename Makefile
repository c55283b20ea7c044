# make repro    real data to report/index.html        make test    the tests
# Both make .venv with the pinned dependencies first, if it is not there; the tests add those of development.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/src
export WANDB_MODE ?= offline

.PHONY: repro test sanitize lint constraints clean

# A stage takes longer to import than to evaluate a cell: the server imports once. `dvc repro` alone does the same, later.
SERVED := python -m poolbench.stages.forkserver sh -ec
STUDY = dvc repro $$(python -m poolbench.params $(1)); python -m poolbench.stages.report only=$(1)

# A fresh clone shows a first page after some minutes, and goes on.
repro: $(BIN)/.installed
	$(SERVED) '[ -d report ] || { $(call STUDY,first); }; dvc repro'
	@echo "$(CURDIR)/report/index.html"

# One study with all its cells, of params.yaml and of studies/params.yaml: make study-lp. conf/study lists them.
study-%: $(BIN)/.installed
	$(SERVED) '$(call STUDY,$*)'
	@echo "$(CURDIR)/studies/report/$*/index.html"

test: $(BIN)/.installed-dev
	python -m pytest -n auto --dist worksteal

# The kernels beside the formulas on 10,000 random windows an operator, every access and every operation checked.
sanitize: export CXXFLAGS = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
sanitize: export HYPOTHESIS_PROFILE ?= thorough
sanitize: $(BIN)/.installed-dev
	POOLBENCH_BACKEND=formula python -c 'from poolbench.pooling.native.build import build; print(build())'
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		python -m pytest -n auto --dist worksteal tests/pooling/native/test_agreement.py

lint: $(BIN)/.installed-dev
	ruff format --check
	ruff check
	mypy

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Poolbench needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	python -m poolbench.pooling.native
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(INSTALL) --editable '.[dev]'
	touch $@

# Pins everything anew: the newest releases that pyproject.toml allows and that work together.
constraints:
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet --disable-pip-version-check '.[dev]'
	.venv-constraints/bin/pip freeze --exclude poolbench > constraints.txt
	rm -rf .venv-constraints

clean: # what the pipeline made; not the data, not .venv
	rm -rf evaluation plan report runs
