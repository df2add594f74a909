# What developers and packagers do with this tree. `make` alone lists it. Only deps, check, demo and bench install packages.

CARGO ?= cargo

# Where `make install` puts things, below DESTDIR: PREFIX for programs and manuals, SYSCONFDIR for the configuration,
# LOCALSTATEDIR for media and logs, RUNSTATEDIR for the process id.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LOCALSTATEDIR ?= /var
RUNSTATEDIR ?= /run
UNITDIR ?= $(PREFIX)/lib/systemd/system

# The programs that are installed, and which of them: server, client, or both.
PROGRAM ?= target/release/buddycloud-media-server
CLIENT ?= target/release/buddycloud-media
PARTS ?= server client

INSTALLATION = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' LOCALSTATEDIR='$(LOCALSTATEDIR)' \
	RUNSTATEDIR='$(RUNSTATEDIR)' UNITDIR='$(UNITDIR)' PROGRAM='$(PROGRAM)' CLIENT='$(CLIENT)' PARTS='$(PARTS)'

.PHONY: help deps build release check format lint docs manual test packaging soak fuzz check-package check-docker demo bench bench-preview clean install uninstall deb

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that are missing (with apt, as root or by sudo)
	@scripts/install-dependencies

build: ## build server and client for development
	$(CARGO) build --locked

release: ## build both programs for installation: target/release/buddycloud-media-server and buddycloud-media
	$(CARGO) build --locked --release

check: deps ## run everything that must pass before a change is merged; first installs missing packages
	@$(MAKE) format lint docs manual test packaging

format: ## check the formatting
	$(CARGO) fmt --all --check

lint: ## run clippy; a warning is an error
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs: ## build the documentation of the code; a warning is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --workspace --no-deps --document-private-items

manual: ## check the manual pages
	@! mandoc -Tlint man/*.[0-9] 2>&1 | grep -v 'referenced manual not found\|outdated mandoc.db'

test: ## run all tests, end-to-end ones with real Prosody, PostgreSQL and curl too
	$(CARGO) test --locked --workspace

packaging: ## check the Debian package and the container's build stage, as far as possible without a chroot
	@scripts/test-package here
	@scripts/test-docker here

soak: ## run the long tests for SOAK_SECONDS (3600): kills, faults, load; prints figures
	@SOAK_SECONDS=$(SOAK_SECONDS) scripts/soak

fuzz: ## fuzz each parser of hostile input for FUZZ_SECONDS (60); see fuzz/README.md
	@FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

check-package: ## build, check, install, upgrade and remove the Debian package in a chroot (as root; downloads Debian)
	@scripts/test-package

check-docker: ## run the steps of the Dockerfile in a chroot, without a container engine (as root; downloads Debian)
	@scripts/test-docker

install: ## install what was built, see PREFIX, SYSCONFDIR, LOCALSTATEDIR and DESTDIR in this file
	@$(INSTALLATION) scripts/install install

uninstall: ## remove what was installed; configuration, media and logs stay
	@$(INSTALLATION) scripts/install uninstall

deb: ## build the Debian packages in target/debian; needs debhelper
	debian/rules clean binary

demo: ## show the main functions; installs missing packages; KEEP=1 keeps the site running
	@KEEP=$(KEEP) scripts/demo.sh

bench: ## compare the speed with nginx, Prosody, ejabberd and vips; BENCH_ROWS=name,... BENCH_SECONDS=2, see bench/README.md
	@scripts/install-dependencies
	@BENCH_ROWS='$(BENCH_ROWS)' BENCH_SECONDS='$(BENCH_SECONDS)' $(CARGO) bench --locked --bench peers

bench-preview: ## compare previews with vipsthumbnail (Debian's libvips-tools), in turns
	$(CARGO) run --locked --release --example bench-preview

clean: ## remove the build results
	$(CARGO) clean
