# What a developer, CI and the README type. Everything heavier than cargo is in scripts/.

CARGO ?= cargo
PYTHON ?= python3

.PHONY: all demo test unit oracle verify-by-hand guides recipes manuals e2e faults giant growth simulate mutants scoreboard embed embed-windows screens page configs lint edges store slow-network test-windows test-aarch64 dist bench figures fuzz transforms setup

all: lint test

## Two releases of the client itself, published, served, installed, updated, broken, healed.
demo:
	scripts/demo.sh

## Every test: the crates' own, the rules of trust beside python-tuf's, stock tools over a site, the C library from four
## languages, the guides and recipes, then the end-to-end run on real releases over nginx.
test: setup-test unit oracle verify-by-hand embed guides recipes e2e

## The tests of the crates, optimised; `cargo test --workspace` runs the same for debugging, one program after the other.
unit:
	$(PYTHON) scripts/unit.py

## The recipes of docs/verifying.md over a site made for it: stock minisign, openssl, b3sum and Python's zlib.
verify-by-hand: setup-test
	$(PYTHON) scripts/verify_by_hand.py

## Every command of the guides in docs/, run as a reader would, and what it prints; with `BIN=DIR`, by the programs there.
BIN ?= target/release
guides: setup-test $(if $(filter target/release,$(BIN)),release)
	LAMPLIGHTER_BIN=$(BIN) $(PYTHON) scripts/guides.py

## The steps of the CI recipes in ci/, run as their CI would.
recipes: setup-test $(if $(filter target/release,$(BIN)),release)
	LAMPLIGHTER_BIN=$(BIN) $(PYTHON) scripts/recipes.py

## Man pages and completions of all programs, in DIR.
manuals:
	@test -n "$(DIR)" || { echo "make manuals DIR=..."; exit 2; }
	$(CARGO) run --locked -p lamplighter-publisher --bin publisher -- man --out $(DIR)
	for shell in bash zsh fish powershell; do \
		$(CARGO) run --quiet --locked -p lamplighter-publisher --bin publisher -- completions $$shell >$(DIR)/publisher.$$shell || exit 1; \
	done
	$(CARGO) run --locked -p lamplighter-publisher --example client_manual -- $(DIR)

## Random histories of roots, heads, releases and clocks, judged by the client and by python-tuf; `HISTORIES=100000` is the
## long form, hours.
HISTORIES ?= 1000
oracle: setup-test
	$(PYTHON) scripts/oracle.py $(HISTORIES)

## Simulated fleets over months (publisher/tests/fleet.rs), a part of `make unit`; `SEEDS=50000` is the long form, in parts with
## `FROM=10000`; `SEED=7` tells the whole of one.
SEEDS ?= 1000
FROM ?= 0
simulate:
	LAMPLIGHTER_SEEDS=$(SEEDS) LAMPLIGHTER_SEEDS_FROM=$(FROM) $(if $(SEED),LAMPLIGHTER_SEED=$(SEED)) \
		$(CARGO) test --release --workspace --locked --test fleet -- --nocapture

## Breaks the code on purpose, in a copy, and demands that a named test notices each: an hour or two. `MUTANTS="3 prune-order"`:
## these (scripts/mutants.toml).
mutants: setup-test
	$(PYTHON) scripts/mutants.py $(MUTANTS)

## Real releases over real nginx; they are fetched once, by package name.
e2e: setup-test release
	$(PYTHON) scripts/e2e.py

## The C library in use: launchers in C, C#, Python and Node through the life of an app (client/examples).
embed: setup-embed
	$(PYTHON) scripts/embed.py

## The launcher in C on Windows: built with mingw against the DLL, run under wine.
embed-windows: setup-embed setup-windows
	$(PYTHON) scripts/embed.py c-windows

## Clicks through the launcher's and the patcher's windows under Xvfb; `RECORD=1` keeps the pictures in docs/images/.
screens: setup-screens
	$(PYTHON) scripts/screens.py $(if $(RECORD),--record)

## The report of a site, index.html, in a real Chromium: drawn, named, readable, asking nobody; `RECORD=1` keeps its pictures in
## docs/images/.
page: setup-page release
	$(PYTHON) scripts/page.py $(if $(RECORD),--record)

## nginx, Caddy and Apache with what `publisher configure` prints for them: every header of every file, and updates through them.
configs: setup-configs release
	$(PYTHON) scripts/configs.py

## The client that ships: killed at system calls, failing ones, cut off from power, on full disks, on exFAT. As root; `LONG=1`: every call,
## 2,000 cuts.
faults: setup-compare release
	$(PYTHON) scripts/faults.py $(if $(LONG),--long)

## What becomes of a site, a tree and a server when releases, files and users grow: minutes; `LONG=1`: hours. `RECORD=1` keeps
## the tables in docs/growth.md.
growth: setup-edges setup-compare release
	$(PYTHON) scripts/growth.py $(if $(LONG),--long) $(if $(RECORD),--record)

## A giant file is updated: disk and memory it takes. `GIB=20`: the size games have; hours.
giant: setup-compare release
	$(PYTHON) scripts/giant.py $(if $(GIB),--gib $(GIB))

## What was tried against the client and what came of it, as one table, from runs of all of it: half an hour, as root.
## `RECORD=1` keeps it in docs/scoreboard.md. `LONG=1`: the long forms, hours, in docs/scoreboard-long.md; with `RUNS="..."` some.
scoreboard: setup-test setup-compare setup-edges release
	$(PYTHON) scripts/scoreboard.py $(if $(RECORD),--record) $(if $(LONG),--long $(RUNS))

## Behind an nginx that caches slices and a varnish that knows no better, with heads that are stale and files that are not yet
## there: the client has one release or the next, whole.
edges: setup-edges release
	$(PYTHON) scripts/edges.py

## Uploads, releases from machines that keep nothing, races and crashes in the middle, against a real S3 server and one that ignores
## conditions.
store: setup-store release
	$(PYTHON) scripts/store.py

## Over a line of 2 Mbit/s that loses one packet in fifty, beside curl: what share of curl's speed an update reaches. As root.
slow-network: setup-edges release
	$(PYTHON) scripts/slow_network.py

## Formatting, lints, documents, every feature set, licences, the rules scripts/tidy.py checks, and whether every break of
## scripts/mutants.toml still finds its place.
lint: setup-lint
	$(PYTHON) scripts/tidy.py
	$(PYTHON) scripts/mutants.py --check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --release -p lamplighter-client --no-default-features --lib --tests --locked -- -D warnings
	$(CARGO) clippy --release -p lamplighter-client --no-default-features --features http --lib --tests --locked -- -D warnings
	$(CARGO) clippy --release -p lamplighter-client --features window --bins --examples --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --locked
	$(CARGO) deny --log-level error --locked check --hide-inclusion-graph licenses bans sources

## The client's tests for Windows, and the flows of launcher, patcher and single binary there, under wine: half an hour.
## `SHORT=1`: the library without HTTP, trees, and what Windows does differently; minutes.
WINDOWS_SHORT := --no-default-features --lib --test tree --test windows
test-windows: setup-windows
	scripts/windows.sh test $(if $(SHORT),$(WINDOWS_SHORT),$(TEST_ARGS))
	$(if $(SHORT),,$(PYTHON) scripts/windows_flows.py)

## The client library's tests for Linux on aarch64, under qemu.
test-aarch64: setup-aarch64
	scripts/cross.sh cargo aarch64-unknown-linux-gnu test --locked -p lamplighter-client --lib --no-default-features $(TEST_ARGS)

## The programs for every platform in dist/, checked, with digests, published as a site and installed from it;
## `PLATFORMS="..."`: these, and it is a failure if one cannot be built; `KEYS=DIR`: with these keys, not throw-away ones.
dist: setup-dist setup-windows
	$(PYTHON) scripts/dist.py $(if $(KEYS),--keys $(KEYS)) $(PLATFORMS)

## Beside bsdiff, xdelta3, zstd, HDiffPatch and Zucchini on all real pairs: an hour or two. `SHORT=1`: one pair beside those that
## Debian packages, minutes; `RECORD=1` keeps the result under docs/figures/. A tool that cannot be had is named in the result; in
## CI it is a failure.
bench: release
	@scripts/setup-debian.sh $(if $(SHORT),compare,bench) || [ "$(CI)" != true ]
	$(CARGO) build --release --workspace --example pack_size --locked
	$(PYTHON) scripts/bench.py $(if $(SHORT),--short) $(if $(RECORD),--record)

## All figures with their limits; `SHORT=1`: one pair in about a minute; `RECORD=1` keeps them under docs/figures/.
figures: setup-compare release
	$(PYTHON) scripts/figures.py $(if $(SHORT),--short) $(if $(RECORD),--record)

## Fuzzes every parser, FUZZ_SECONDS a target, from the committed corpora on; finds stay in fuzz/artifacts (fuzz/README.md).
## The short form is a test, client/tests/corpora.rs. Needs `cargo install cargo-fuzz`; the stable toolchain will do.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= text_records signed_document state_files release_notes paths manifest objects_index object_frame journal \
	pack_header pack_rebuild zstd_stream lzma_stream plain_unit references_unit deflate_unit image_scan
# zstd is built with -fmerge-all-constants. GCC then makes constants of functions static, and ASan takes their second use for a
# use after their scope.
FUZZ_CFLAGS := -fno-sanitize-address-use-after-scope
fuzz:
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target; \
		RUSTC_BOOTSTRAP=1 CFLAGS="$(CFLAGS) $(FUZZ_CFLAGS)" $(CARGO) fuzz run --fuzz-dir fuzz $$target \
			fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 || exit 1; \
	done

## Makes and applies a patch between neighbours of all executables below DIRS: minutes to hours. LIMIT=20: a part of them.
DIRS ?= /usr/bin /usr/lib
transforms:
	$(CARGO) run --release -p lamplighter-publisher --example transforms --locked -- $(if $(LIMIT),--limit $(LIMIT)) $(DIRS)

.PHONY: release setup-test setup-lint setup-compare setup-bench setup-edges setup-store setup-configs setup-page setup-embed setup-screens setup-windows setup-aarch64 setup-dist

# The example brings in what only tests depend on: with other features the publisher would be compiled a second time.
release:
	$(CARGO) build --release --workspace --bins --example histories --locked

setup: setup-test setup-lint setup-compare setup-bench setup-edges setup-store setup-configs setup-page setup-embed setup-screens setup-windows setup-aarch64 setup-dist

setup-test setup-lint setup-compare setup-bench setup-edges setup-store setup-configs setup-page setup-embed setup-screens setup-aarch64 setup-dist: setup-%:
	@scripts/setup-debian.sh $*

## Packages, and what is made once: the standard library and wine's folder.
setup-windows:
	@scripts/setup-debian.sh windows
	@scripts/windows.sh setup
