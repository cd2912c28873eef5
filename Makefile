PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# faiss-gpu and torchaudio only where there is an NVIDIA GPU: torchaudio needs a CUDA build of torch (see pyproject.toml).
EXTRA := $(if $(shell command -v nvidia-smi 2>/dev/null),gpu,cpu)
# One process per core, of one thread each; at most four, because each one holds about 1.5 GB.
TESTS := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast gpu-check lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## create .venv with the versions pinned in constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "musicrec needs Python 3.11 or newer: make PYTHON=python3.11 setup")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	@touch $@

demo: setup ## run synthetic music and listeners through all four stages to a comparison table
	$(PY) prepare.py
	$(PY) extract.py embedding=musicnn
	$(PY) train.py -m recommender=knn,shallow embedding=musicnn,random
	$(PY) train.py -m recommender=popularity,ease,elsa
	$(PY) train.py recommender=shallow embedding=musicnn embedding.shuffle=true
	$(PY) train.py -m experiment=demo_bert embedding=musicnn,random
	$(PY) evaluate.py

test: setup lint ## lint, check types and run all tests
	$(TESTS)

test-fast: setup ## run the tests that take less than about 20 s each
	$(TESTS) -m "not slow"

gpu-check: setup ## compare the GPU with the CPU and measure its speed; prints tables for benchmarks/RESULTS.md
	$(PY) benchmarks/gpu_check.py
	$(PY) benchmarks/networks.py --clips 64 --batch 16 --device cuda --precision bf16
	$(PY) benchmarks/recommenders.py bert --device cuda --precision bf16-mixed --steps 50

lint: setup ## check style, types and spelling
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell

format: setup ## format the code and apply the safe lint fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove .venv, sweep outputs and the demo workspace
	rm -rf $(VENV) multirun workspaces/demo
