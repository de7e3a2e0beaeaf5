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

.PHONY: help setup demo sweep toy methods laboratory test test-slow check clean

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

toy: $(READY)  ## the 2D example, whose density is known: train, figures, and every way of guiding measured, in runs/toy2d (10 minutes)
	@$(MAKE) --no-print-directory -j2 toy-main toy-guides
	@$(MAKE) --no-print-directory -j2 toy-figures toy-table

.PHONY: toy-main toy-guides toy-figures toy-table
toy-main: $(READY)
	$(PY) -m edm2lite toy2d train -c configs/toy2d/main.yaml

toy-guides: $(READY)
	for guide in guide both heavy-tailed; do $(PY) -m edm2lite toy2d train -c configs/toy2d/$$guide.yaml || exit; done

toy-figures: $(READY)
	$(PY) -m edm2lite toy2d plot

toy-table: $(READY)
	$(PY) -m edm2lite toy2d measure -c configs/toy2d/methods.yaml

METHODS := digits/main digits/conditional digits/small-conditional digits/heavy-tailed digits/classifier
methods: $(READY)  ## every way of guiding on digits, each at its best weight (about 16 minutes)
	for run in $(METHODS); do $(PY) train.py -c configs/$$run.yaml || exit; done
	$(PY) evaluate.py ref --data.name digits --out runs/demo/ref-digits.npz
	$(PY) evaluate.py table -c configs/tables/digits-methods.yaml

laboratory: $(READY)  ## degraded mains and guides on two datasets, and the paper's claims about them judged (about 25 minutes)
	@$(MAKE) --no-print-directory -j2 laboratory-digits laboratory-patches
	@cat runs/laboratory/digits/table.md runs/laboratory/patches/table.md

.PHONY: laboratory-digits laboratory-patches
laboratory-digits: $(READY)
	$(PY) train.py -c configs/digits/conditional.yaml --run_dir runs/laboratory/digits-main
	$(PY) train.py -c configs/digits/small-long.yaml
	$(PY) evaluate.py ref --data.name digits --out runs/laboratory/ref-digits.npz
	$(PY) evaluate.py table -c configs/tables/laboratory-digits.yaml

laboratory-patches: $(READY)
	$(PY) train.py -c configs/patches/main.yaml --run_dir runs/laboratory/patches-main
	$(PY) train.py -c configs/patches/small-long.yaml
	$(PY) evaluate.py ref --data.name patches --out runs/laboratory/ref-patches.npz
	$(PY) evaluate.py table -c configs/tables/laboratory-patches.yaml

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
