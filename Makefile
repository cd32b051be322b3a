# The habits of this repository. `make` alone lists them.

CARGO ?= cargo

# A test or a demo asks nobody.
export DEBIAN_FRONTEND = noninteractive
export GIT_TERMINAL_PROMPT = 0

.DEFAULT_GOAL := help
.PHONY: help setup runner-images build demo demo-clean screenshots test test-real test-faults bench deploy-lab fuzz simulate lint lint-tools fmt

help: ## lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## installs missing packages, starts Docker if it does not run, makes the images
	@tests/setup/packages.sh
	@tests/setup/user.sh
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

screenshots: setup build ## draws the pictures of the documentation anew
	@$(CARGO) run --quiet --example screenshots

test: setup build ## runs all tests; afterwards nothing of them is on the engine
	@CARGO=$(CARGO) tests/run.sh

FAULTS ?= 200
test-faults: setup build ## kills server and runs FAULTS=200 times and at every place where it may matter; SEED=7 again
	@FAULTS=$(FAULTS) $(CARGO) test --workspace --test product -- --nocapture --include-ignored --test-threads 3 survival first_tries followers

test-real: setup build ## builds and tests real programs, from Debian's sources
	@$(CARGO) test --workspace --test product -- --nocapture real_programs

bench: ## measures against floors and peers, and writes docs/performance.md
	@CARGO=$(CARGO) tests/bench.sh

deploy-lab: setup ## deploys under load, well and badly, and writes its table; EXPERIMENT=bad, RPS=200, DEPLOYS=3 narrow it
	@CARGO=$(CARGO) tests/deploy-lab.sh

MINUTES ?= 20
fuzz: ## feeds the parser and checker with nonsense for MINUTES=20
	@CARGO=$(CARGO) tests/fuzz.sh $(MINUTES)

SEEDS ?= 100000
simulate: ## plays SEEDS=100000 runs in a world of faults; SEED=7 plays that one and tells it
	@SEEDS=$(SEEDS) $(CARGO) test --workspace --lib -- --ignored --nocapture simulation::simulate

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
