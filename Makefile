# Everything a newcomer needs: `make run` to use Hearth, `make test` to trust it.
#
#   make run      install what is missing, build, start: the window where there is a display, else the server alone
#   make test     lint, build, and every test: unit, integration, dashboard, desktop window, client SDKs
#   make lint     formatting, clippy, svelte-check
#   make fuzz     fuzz targets for FUZZ_SECONDS each (`make test` runs each a little)
#   make test-foundationdb   the whole-system tests once more, with every server on a FoundationDB of its own
#   make bench    what the store, backups, the rooms and the sync do per second, and what they cost on disk
#   make bundle   a Debian package of the desktop app
#   make deps     system packages for all of the above (Debian and its kin); the rest is fetched by cargo and npm
#
# JOBS=2 limits cargo's parallel jobs, for a machine with many cores and little memory.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

ifdef JOBS
export CARGO_BUILD_JOBS := $(JOBS)
endif

# A build machine throws its target folder away: no debug information, no incremental state. The profile stays the same one.
ifeq ($(CI),true)
export CARGO_PROFILE_DEV_DEBUG := 0
export CARGO_INCREMENTAL := 0
export CARGO_TERM_COLOR := never
export NO_COLOR := 1
endif

BUILD_PACKAGES := build-essential pkg-config libwebkit2gtk-4.1-dev libayatana-appindicator3-dev librsvg2-dev libxdo-dev libssl-dev
TEST_PACKAGES := webkit2gtk-driver xvfb xauth dbus-x11 fonts-dejavu-core chromium

TAURI_CLI := @tauri-apps/cli@2.12.4

# Where cargo puts what it builds; a machine may have configured another folder.
target_dir = $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')

.PHONY: help run test test-foundationdb lint fmt fuzz bench bundle deps deps-build deps-test tools ui no-dashboard build build-tests test-rust test-ui test-sdk

help:
	@sed -n 's/^#   //p' Makefile

# --- System packages ------------------------------------------------------------------------------------------------------------

deps: deps-build deps-test

deps-build: tools
	@$(call install,$(BUILD_PACKAGES))

deps-test: tools
	@$(call install,$(TEST_PACKAGES))

# Installs the packages of a list that are not there; says nothing when they all are.
define install
	missing=; \
	for package in $(1); do \
	    dpkg-query -W -f '$${db:Status-Abbrev}' "$$package" 2>/dev/null | grep -q '^ii' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if ! command -v apt-get >/dev/null; then \
	        echo "This is no Debian. Its packages that Hearth needs, by their Debian names:$$missing" >&2; \
	    else \
	        root=; if [ "$$(id -u)" -ne 0 ]; then root=sudo; fi; \
	        echo "Installing:$$missing"; \
	        $$root apt-get update -qq </dev/null; \
	        $$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing </dev/null; \
	    fi; \
	fi
endef

tools:
	@for tool in cargo node npm; do \
	    command -v $$tool >/dev/null || { echo "$$tool is missing. Hearth needs Rust (https://rustup.rs) and Node.js 20.19 or newer." >&2; exit 1; }; \
	done
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
	    || { echo "Node.js $$(node --version) is too old: 20.19 or newer is needed." >&2; exit 1; }

# --- Build ----------------------------------------------------------------------------------------------------------------------

# The dashboard. It goes into both binaries, so it comes first, and only when it changed, since they are built again after it.
# The stamp lies beside dist, which the build empties; where dist holds only a placeholder, the stamp does not count.
UI_STAMP := ui/node_modules/.dashboard-built
UI_SOURCES := $(shell find ui/src ui/public -type f) $(wildcard ui/*.html ui/*.ts ui/*.js ui/package-lock.json)

ui: $(UI_STAMP)

$(UI_STAMP): ui/node_modules/.package-lock.json $(UI_SOURCES) $(if $(wildcard ui/dist/assets),,no-dashboard)
	cd ui && npm run --silent build
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

# The whole workspace at once, so that features unify and nothing heavy is built twice.
build: deps-build ui
	cargo build --workspace --bins

# The same binaries with what the tests need: their dependencies ask for one more feature of tokio, and building first without it
# would build half of all crates twice.
build-tests: deps-build ui
	cargo build --workspace --bins --tests

# --- Run ------------------------------------------------------------------------------------------------------------------------

run: build
	@bin='$(target_dir)/debug'; \
	if [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then \
	    code=0; "$$bin/hearth-desktop" || code=$$?; \
	    if [ "$$code" -ne 69 ]; then exit "$$code"; fi; \
	fi; \
	echo 'Starting the server alone; Ctrl-C stops it.'; \
	exec "$$bin/hearth" serve

# --- Test -----------------------------------------------------------------------------------------------------------------------

# Every part runs even if one before it failed. The summaries come last, from the logs of each part.
test: deps lint build-tests
	@rm -rf '$(target_dir)/test-logs'
	@code=0; \
	$(MAKE) --no-print-directory --keep-going test-rust test-ui test-sdk || code=1; \
	node .ci/summary.mjs '$(target_dir)/test-logs' || code=1; \
	exit $$code

test-rust: build-tests
	@mkdir -p '$(target_dir)/test-logs'
	cargo test --workspace --no-fail-fast </dev/null 2>&1 | tee '$(target_dir)/test-logs/cargo.log'

# What `make test` does on FoundationDB, where it is installed, are the tests about it. This runs the others on it, too.
test-foundationdb: build-tests
	HEARTH_TEST_ENGINE=foundationdb cargo test --package hearth-tests --no-fail-fast </dev/null

test-ui: build-tests
	@mkdir -p '$(target_dir)/test-logs'
	cd ui && HEARTH_BIN='$(target_dir)/debug/hearth' npm test </dev/null 2>&1 | tee '$(target_dir)/test-logs/ui.log'

test-sdk: build-tests tests/js/node_modules/.package-lock.json
	@mkdir -p '$(target_dir)/test-logs'
	cd tests/js && HEARTH_BIN='$(target_dir)/debug/hearth' npm test </dev/null 2>&1 | tee '$(target_dir)/test-logs/sdk.log'

lint: deps-build ui
	cargo fmt --all --check
	cd ui && npm run --silent lint && npm run --silent check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ui/node_modules/.package-lock.json
	cargo fmt --all
	cd ui && npm run --silent format

# On a stable compiler; server/protocol/fuzz says how to do it with libFuzzer.
FUZZ_SECONDS ?= 60
fuzz: tools
	HEARTH_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test -p hearth-protocol --lib fuzz -- --nocapture

# --- Bench, bundle --------------------------------------------------------------------------------------------------------------

bench: tools
	cargo bench -p hearth-store -p hearth-archive -p hearth-rooms -p hearth-sync \
	    --bench store --bench archive --bench rooms --bench reads --bench snapshots --bench join --bench sync

# The server goes beside the app as its sidecar; tauri.bundle.conf.json says so, and only here, since it would fail every other
# build. BUNDLES=deb,appimage makes more kinds (an AppImage's tools are downloaded by Tauri).
BUNDLES ?= deb
bundle: deps-build ui
	cargo build --release --package hearth --bin hearth
	mkdir -p src-tauri/binaries
	cp '$(target_dir)/release/hearth' "src-tauri/binaries/hearth-$$(rustc -vV | sed -n 's/^host: //p')"
	cd src-tauri && npx --yes $(TAURI_CLI) build --config tauri.bundle.conf.json --bundles $(BUNDLES)
	@find '$(target_dir)/release/bundle' -maxdepth 2 -type f
