PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# The faiss that the machine can use; torchaudio only ever comes with a CUDA torch (pyproject.toml says why).
EXTRA := $(if $(shell command -v nvidia-smi 2>/dev/null),gpu,cpu)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with everything pinned in constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "musicrec needs Python 3.11 or newer: make PYTHON=python3.11 setup")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	@touch $@

demo: setup ## synthetic music and listeners through all four stages to a comparison table
	$(PY) prepare.py
	$(PY) extract.py embedding=musicnn
	$(PY) train.py -m recommender=knn,shallow embedding=musicnn,random
	$(PY) train.py -m experiment=demo_bert embedding=musicnn,random
	$(PY) evaluate.py

test: setup lint ## lint, type check and all tests
	$(PY) -m pytest

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean: ## remove .venv, sweep outputs and the demo workspace
	rm -rf $(VENV) multirun workspaces/demo
