# The habits of this repository. `make` alone lists them.

CARGO ?= cargo

# A test or a demo asks nobody.
export DEBIAN_FRONTEND = noninteractive
export GIT_TERMINAL_PROMPT = 0

.DEFAULT_GOAL := help
.PHONY: help setup runner-images build demo demo-clean test test-real bench fuzz lint lint-tools fmt

help: ## lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## installs missing packages, starts Docker if it does not run, makes the images
	@tests/setup/packages.sh
	@tests/setup/docker.sh
	@tests/setup/images.sh

runner-images: ## builds the runner images that have changed
	@tests/setup/docker.sh
	@tests/setup/images.sh

# The one debug build, with the features that tests and examples need too.
build: ## builds the workspace, for debugging
	@$(CARGO) build --workspace --bins --examples

demo: setup build ## shows the whole way: commit, run, image, release, mail
	@$(CARGO) run --quiet --example demo

demo-clean: ## removes what the demo left running
	@$(CARGO) run --quiet --example demo -- --clean

test: setup build ## runs all tests; afterwards nothing of them is on the engine
	@CARGO=$(CARGO) tests/run.sh

test-real: setup build ## builds and tests a real program, Debian's Redis
	@$(CARGO) test --workspace --test product -- --nocapture real_program

bench: ## measures against floors and peers, and writes docs/performance.md
	@CARGO=$(CARGO) tests/bench.sh

MINUTES ?= 20
fuzz: ## feeds the parser and checker with nonsense for MINUTES=20
	@CARGO=$(CARGO) tests/fuzz.sh $(MINUTES)

lint: ## checks format, lints, dependencies and scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --quiet --manifest-path crates/pipeline/fuzz/Cargo.toml
	@if $(CARGO) deny --version >/dev/null 2>&1; then set -x; \
	$(CARGO) deny check licenses bans sources && $(CARGO) deny check advisories; \
	else echo 'lint: skipped cargo deny; make lint-tools installs it'; fi
	@if command -v shellcheck >/dev/null; then set -x; shellcheck .ci/run tests/*.sh tests/setup/*.sh tests/services/*.sh; \
	else echo 'lint: skipped shellcheck; sudo apt-get install shellcheck installs it'; fi

lint-tools: ## installs cargo-deny
	$(CARGO) install cargo-deny --locked

fmt: ## formats the code
	$(CARGO) fmt --all
