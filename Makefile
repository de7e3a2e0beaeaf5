# make help: what there is
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# Each command of the demo and each test process computes in one thread: two such commands side by side finish sooner
# on two cores than one after the other with two threads each.
export OMP_NUM_THREADS ?= 1
export EDM2LITE_CACHE ?= $(CURDIR)/runs/cache

.PHONY: help setup demo sweep methods test test-slow check clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 22

setup: $(READY)  ## create .venv and install everything (done by the other targets, too)

$(READY): pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(READY)  ## train mains and guides on two small datasets, tabulate autoguidance, write runs/demo/report.html
	@$(MAKE) --no-print-directory -j2 demo-digits demo-patches
	@printf '\n'; cat runs/demo/digits/table.md; printf '\n'; cat runs/demo/patches/table.md; printf '\n'
	@$(PY) evaluate.py report -c configs/demo/report.yaml

.PHONY: demo-digits demo-patches
demo-digits: $(READY)
	$(PY) train.py -c configs/digits/main.yaml
	$(PY) train.py -c configs/digits/small.yaml
	$(PY) evaluate.py ref --data.name digits --out runs/demo/ref-digits.npz
	$(PY) evaluate.py table -c configs/tables/digits.yaml

demo-patches: $(READY)
	$(PY) train.py -c configs/patches/main.yaml
	$(PY) train.py -c configs/patches/small.yaml
	$(PY) evaluate.py ref --data.name patches --out runs/demo/ref-patches.npz
	$(PY) evaluate.py table -c configs/tables/patches.yaml

sweep: $(READY)  ## after make demo: search EMA x EMA x guidance weight on digits, two workers (4 minutes), and its report
	$(PY) evaluate.py sweep -c configs/sweeps/digits.yaml --devices 2
	@$(PY) evaluate.py report --tables '[runs/demo/digits-sweep]' --out runs/demo/sweep.html

METHODS := digits/main digits/conditional digits/small-conditional digits/heavy-tailed digits/classifier
methods: $(READY)  ## every way of guiding on digits, each at its best weight, and the synthetic degradations (about 20 minutes)
	for run in $(METHODS); do $(PY) train.py -c configs/$$run.yaml || exit; done
	$(PY) evaluate.py ref --data.name digits --out runs/demo/ref-digits.npz
	@$(MAKE) --no-print-directory -j2 methods-digits-methods methods-digits-degradations
	@cat runs/methods/digits/table.md runs/methods/digits-degradations/table.md

.PHONY: methods-digits-methods methods-digits-degradations
methods-digits-methods methods-digits-degradations: methods-%: $(READY)
	$(PY) evaluate.py table -c configs/tables/$*.yaml

test: $(READY)  ## the fast tests (under 6 minutes on 2 cores)
	$(PY) -m pytest -n 2 --dist loadfile

test-slow: $(READY)  ## torch.compile and other long tests
	$(PY) -m pytest -m slow -n 2 --dist loadfile

check: $(READY)  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:  ## remove runs and caches, keep .venv
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache
