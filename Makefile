# What developers and packagers do with this tree. `make` alone lists it.

CARGO ?= cargo

.PHONY: help dependencies build release check format lint docs test fuzz demo clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dependencies: ## install the Debian packages that are missing
	@scripts/install-dependencies

build: dependencies ## build the server for development
	$(CARGO) build --locked

release: dependencies ## build the server to be installed: target/release/buddycloud-media-server
	$(CARGO) build --locked --release

check: dependencies format lint docs test ## everything that must pass before a change is taken

format: ## check the formatting
	$(CARGO) fmt --check

lint: ## run clippy; a warning is an error
	$(CARGO) clippy --locked --all-targets -- -D warnings

docs: ## build the documentation of the code; a warning is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --document-private-items

test: dependencies ## run all tests, end-to-end ones with real Prosody, PostgreSQL and curl too
	$(CARGO) test --locked

fuzz: ## fuzz each parser of hostile input for FUZZ_SECONDS (60); see fuzz/README.md
	@FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

demo: ## do the main job before your eyes; KEEP=1 leaves the site running
	@KEEP=$(KEEP) scripts/demo.sh

clean: ## remove what was built
	$(CARGO) clean
