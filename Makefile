# Everything a newcomer types: `make demo` and `make test`. Both do all set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Compiled dependencies live outside the clone, so that a second clone is quick.
QUERN_CACHE ?= $(HOME)/.cache/quern
export QUERN_CACHE
export CARGO_TARGET_DIR ?= $(QUERN_CACHE)/target
export QUERN_GUEST_TARGET ?= $(QUERN_CACHE)/guest-target
export QUERN_PYTHON ?= $(QUERN_CACHE)/python/bin/python
QUERN := $(CARGO_TARGET_DIR)/debug/quern
export QUERN_BIN := $(QUERN)
INSTALL_DIR ?= $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
DEMO_DATA ?= demo-data
TEST ?=
BENCH ?=

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build procs install ## Ingest MNIST, train, infer and evaluate in ./demo-data
	@$(QUERN) --data $(DEMO_DATA) demo mnist --files tests/data/mnist --component udfs/mnist/mnist.wasm

# With REQUIRE_CUDA=1 a machine must have a GPU, and tests that it has are not left out.
REQUIRE_CUDA ?=
export REQUIRE_CUDA
.PHONY: test
test: $(if $(filter 1,$(REQUIRE_CUDA)),gpu) build procs python nvrtc ## Run every test (TEST=name: those whose name matches)
	cargo test --quiet -p quern-tests -- $(TEST)
	cargo test --quiet -p quern-udf -p mnist -p sum-of-squares -- $(TEST)

SANITIZERS ?= memcheck initcheck racecheck synccheck
.PHONY: test-gpu
test-gpu: gpu-tools ## Every test on this machine's GPU, then under compute-sanitizer
	$(MAKE) test REQUIRE_CUDA=1
	for tool in $(SANITIZERS); do \
	  PATH="$$PATH:/usr/local/cuda/bin" REQUIRE_CUDA=1 QUERN_SANITIZER=$$tool \
	    cargo test --quiet -p quern-tests -- on_real_gpu --test-threads=1; \
	done

.PHONY: lint
lint: machine ## Formatting and clippy, as CI runs them
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings

.PHONY: bench
bench: guest ## Time training, inference, ingest, host calls and replay (BENCH=name)
	cargo bench --quiet --profile dev -p quern-tests --bench speed -- $(BENCH)

# Tests whose full size asserts times, so nothing may run beside them.
TIMED := run::kills run::crowds run::ensembles
.PHONY: soak
soak: build procs python nvrtc cxx ## The long runs at full size: those that assert times one by one, and a million fuzzed sequences
	QUERN_SOAK=1 cargo test --quiet -p quern-tests -- --nocapture --test-threads=1 $(or $(TEST),$(TIMED))
	$(if $(TEST),,QUERN_SOAK=1 cargo test --quiet -p quern-tests -- --nocapture $(TIMED:%=--skip %))
	$(if $(TEST),,tests/fuzz/run.sh -jobs=2 -workers=2 -runs=500000)

FUZZ_SECONDS ?= 60
FUZZ_SEED ?=
FUZZ_INPUT ?=
.PHONY: fuzz
fuzz: build guest cxx ## Sequences of calls of the host that coverage leads to (FUZZ_SECONDS=n, FUZZ_SEED=n, FUZZ_INPUT=file)
	tests/fuzz/run.sh $(or $(abspath $(FUZZ_INPUT)),-max_total_time=$(FUZZ_SECONDS) $(FUZZ_SEED:%=-seed=%))

.PHONY: build
build: machine ## Build the `quern` binary
	cargo build --quiet -p quern

.PHONY: install
install: build ## Put `quern` into cargo's bin folder
	@install -m 755 -D $(QUERN) $(INSTALL_DIR)/quern

.PHONY: procs
procs: build guest ## Build the procs of udfs/ into components
	@$(QUERN) proc build udfs/sum-of-squares
	@$(QUERN) proc build udfs/mnist

.PHONY: machine
machine:
	@setup/machine.sh

.PHONY: cxx
cxx: machine
	@setup/cxx.sh

.PHONY: guest
guest: machine
	@setup/guest-target.sh

.PHONY: python
python:
	@setup/python.sh

.PHONY: gpu
gpu:
	@setup/gpu.sh

.PHONY: gpu-tools
gpu-tools:
	@setup/gpu.sh sanitizer

.PHONY: nvrtc
nvrtc: python
	@setup/nvrtc.sh

.PHONY: clean
clean: ## Remove what the demo made (not the shared cache)
	rm -rf $(DEMO_DATA)
