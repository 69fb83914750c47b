# Every recipe sets up what it needs. IMAGES=auto|registry|local says where images may come from (docs/images.md).
IMAGES ?= auto
export IMAGES
# MODELS="stack.yaml mine.yaml": the model with overlays on it (docs/development.md).
MODELS ?= stack.yaml
# ONLY="load cold": the benchmarks to run (tests/benchmarks); without it all but cold.
ONLY ?=
PYTHON := .venv/bin/python
LOOKOUT := PYTHONPATH=scripts $(PYTHON) -m lookout $(if $(filter-out stack.yaml,$(MODELS)),$(MODELS:%=--model %))
PYTEST := $(PYTHON) -m pytest
# Two processes share out the files of tests; each brings up one stack, for the first test that asks for it.
BESIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup render check images up status smoke logs down clean test test-unit test-integration bench
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*##/ {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make the Python environment
	@scripts/setup.sh

render: setup  ## write rendered/ and stack.schema.json from stack.yaml
	@$(LOOKOUT) schema
	@$(LOOKOUT) render

check: setup  ## check everything that needs no running stack
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m mypy
	@$(LOOKOUT) check --images $(IMAGES)

images: setup  ## show which image each server would run from, and why
	@$(LOOKOUT) images --images $(IMAGES)

up: setup  ## start the stack, and end when it was seen live
	@$(LOOKOUT) up --images $(IMAGES)

status: setup  ## ask the running stack what `up` asked
	@$(LOOKOUT) status

smoke: setup  ## follow one request through the running stack
	@$(LOOKOUT) smoke

logs: setup  ## follow the logs of all containers
	@$(LOOKOUT) logs

down: setup  ## stop the stack, keep its data
	@$(LOOKOUT) down

clean: setup  ## stop the stack, delete its data and secrets
	@$(LOOKOUT) clean

test: setup  ## all tests
	@$(LOOKOUT) images --images $(IMAGES) --obtain --also chromium
	@$(PYTEST) $(BESIDE)

test-unit: setup  ## tests that need no engine
	@$(PYTEST) -m "not integration" tests/unit tests/golden

test-integration: setup  ## tests on a running stack of their own
	@$(LOOKOUT) images --images $(IMAGES) --obtain --also chromium
	@$(PYTEST) $(BESIDE) -m integration

bench: setup  ## measure, as JSON
	@PYTHONPATH=scripts:services $(PYTHON) -m tests.benchmarks $(ONLY)
