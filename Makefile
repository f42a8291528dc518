# The one task file. `make help` lists what there is; everything sets up what it needs, and repeating is quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
# Cargo finds its own commands there, and a shell need not.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
DENY := $(CARGO) deny --log-level error check
# A job in the background ignores Ctrl-C, and a snaptree that it starts would too: tests of signals need them unignored.
TESTS := env --default-signal $(CARGO) test
SNAPTREE := target/debug/snaptree
MACHINE := kvm_debian12

# What the demo must have drawn, as virsh shows it.
define DEMO_TREE
sn01_$(MACHINE)
  |
  +- sn02_$(MACHINE)
      |
      +- mariadb_$(MACHINE)
      +- postgresql_$(MACHINE)
endef
export DEMO_TREE

.PHONY: help setup build images test test-full demo lint clean

help: ## List these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' Makefile | expand -t 14

setup: ## Install what is missing on this host and start libvirt
	@.ci/setup

build: setup ## Build the binary
	@$(CARGO) build

images: build ## List the images in the cache
	@$(SNAPTREE) images

test: setup ## Run every test, real virtual machines included
	$(TESTS)
	$(TESTS) --lib -- --ignored
	$(TESTS) --test all -- --ignored qemu:: --test-threads=2
	SNAPTREE_CHANNEL=agent $(TESTS) --test all -- --ignored qemu::guest --test-threads=2

demo: build ## Build the tree of databases on Debian, ask both for their versions and compare the tree
	$(SNAPTREE) run scripts/databases.lua
	$(SNAPTREE) exec $(MACHINE)/mariadb_$(MACHINE) -- mariadb -e 'select version()'
	$(SNAPTREE) exec $(MACHINE)/postgresql_$(MACHINE) -- su postgres -c 'psql -c "select version()"'
	@echo 'Asking two forks from the host:'
	@$(SNAPTREE) fork $(MACHINE)/mariadb_$(MACHINE) -n 2 --forward 3306 | while read -r fork address; do \
	  mariadb -h 127.0.0.1 -P "$${address#*:}" -u demo -pdemo -N -B -e "select concat('$$fork answers as ', version())" </dev/null; \
	done | tee -a /dev/stderr | [ "$$(grep -c 'answers as 1')" = 2 ]
	$(SNAPTREE) stop $(MACHINE)
	virsh snapshot-list $(MACHINE) --tree
	@diff -u <(printf '%s\n' "$$DEMO_TREE") <(virsh snapshot-list $(MACHINE) --tree | sed 's/ *$$//; /^$$/d')

test-full: lint test demo ## Everything: lint, the tests, then the demo, run again and deleted
	@$(SNAPTREE) run scripts/databases.lua 2>&1 | tee -a /dev/stderr | { ! grep -q -e building -e resum -e booted; }
	$(SNAPTREE) delete $(MACHINE) --yes

lint: ## Check the format, the lints, the documentation, the licences and the shell scripts
	@.ci/setup lint
	$(CARGO) fmt --check
	rustfmt --edition 2024 --check guest/main.rs
	stylua --check scripts stdlib src
	shellcheck .ci/*
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items
	$(DENY) bans licenses sources
	@if $(CARGO) deny fetch db 2>/dev/null; then $(DENY) advisories; \
	else echo 'lint: the database of advisories cannot be reached: they are not checked.' >&2; fi

clean: ## Remove what cargo built; machines and cached images stay
	$(CARGO) clean
