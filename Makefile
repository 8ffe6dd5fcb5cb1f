# What there is to do with pykv; `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# Passed on by `make run`: make run ARGS='--fsync always'
ARGS ?=

BINARY = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/release/pykv
BINDIR = $(DESTDIR)$(PREFIX)/bin
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1

.PHONY: help build run test test-tools python-tools page-tools screenshots fuzz bench dist deb deb-try deny lint doc man install uninstall clean
.DEFAULT_GOAL := help

help: ## Say what there is to do
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## Build target/release/pykv
	PYKV_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) $(CARGO) build --release --locked

run: build ## Start a node on 127.0.0.1:7958, its data in ./pykv-data
	$(BINARY) serve $(ARGS)

# Many tests wait for something that takes its time (a lease that ends, a browser), so more of them run at once than there
# are processors.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

# Nodes sync small files all the time, and would wait for the disk that the compiler has just written to. So their
# directories are in memory, where there is enough of it.
TEST_TMPDIR ?= $(shell free=$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1); \
	[ -w /dev/shm ] && [ "$${free:-0}" -gt 4000000 ] && echo /dev/shm || echo "$${TMPDIR:-/tmp}")

test: test-tools python-tools page-tools ## Run all tests
	TMPDIR=$(TEST_TMPDIR) RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --no-fail-fast

# Beside cargo: strace makes system calls fail, promtool reads what Prometheus gets, the page is used in a browser,
# nginx and HAProxy stand before a node, faketime gives it another clock, script a terminal; openssl, sslscan and Python
# speak TLS with it, Python and Node.js run clients; etcd decides who is primary, and etcdctl takes its backups;
# redis-server holds the entries of gateways, and redis-cli moves its slots; ip and iptables make hosts that do not hear
# each other; zsh and fish complete what is typed.
TEST_TOOLS = strace:strace promtool:prometheus chromium:chromium chromedriver:chromium-driver nginx:nginx-light \
	haproxy:haproxy faketime:faketime script:bsdutils openssl:openssl sslscan:sslscan python3:python3 node:nodejs npm:npm \
	etcd:etcd-server etcdctl:etcd-client redis-server:redis-server redis-cli:redis-tools ip:iproute2 iptables:iptables \
	zsh:zsh fish:fish

test-tools:
	@missing=; for tool in $(TEST_TOOLS); do \
		command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "make test: installs$$missing by apt-get; some tests run these programs (see TEST_TOOLS in the Makefile)" >&2; \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; } \
			>/dev/null || echo "make test: could not be installed:$$missing" >&2; \
	fi; \
	for tool in $(TEST_TOOLS); do \
		command -v "$${tool%%:*}" >/dev/null || \
			echo "make test: $${tool%%:*} is missing, so the tests that need it are left out" >&2; \
	done

# Schemathesis makes requests up from the description of the API; the clients of docs/clients.md use the others. In an
# environment of their own.
PYTHON_TOOLS = schemathesis==4.32.5 requests==2.34.2 httpx==0.28.1

python-tools:
	@target/venv/bin/pip freeze 2>/dev/null | grep -cxF $(PYTHON_TOOLS:%=-e %) | grep -qx $(words $(PYTHON_TOOLS)) && exit 0; \
	echo 'make test: installs $(PYTHON_TOOLS) into target/venv; some tests run them (see PYTHON_TOOLS in the Makefile)' >&2; \
	{ python3 -m venv target/venv && target/venv/bin/pip install -q $(PYTHON_TOOLS); } >/dev/null 2>&1 || \
		echo 'make test: they could not be installed, so the tests that need them are left out' >&2

# Looks for faults of accessibility in the page.
AXE = 4.14.1

page-tools:
	@grep -qs '"version": "$(AXE)"' target/axe/node_modules/axe-core/package.json && exit 0; \
	echo 'make test: installs axe-core $(AXE) into target/axe; tests of the page run it' >&2; \
	npm install --silent --no-save --no-audit --no-fund --prefix target/axe axe-core@$(AXE) >/dev/null 2>&1 || \
		echo 'make test: it could not be installed, so accessibility is not checked' >&2

screenshots: test-tools ## Take pictures of the page, into target/screenshots
	PYKV_SCREENSHOTS=target/screenshots $(CARGO) test --locked --test browser screenshots

# How long each target is fuzzed, and which.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= record header base backup request_head chunked_body batch_json import_line hello

fuzz: ## Fuzz what reads bytes from outside, FUZZ_SECONDS (60) for each of FUZZ_TARGETS
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target target/fuzz/artifacts/$$target && \
		$(CARGO) fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none $$target \
			target/fuzz/corpus/$$target tests/fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
			-artifact_prefix=target/fuzz/artifacts/$$target/ || exit 1; \
	done

# What packages hold is to stay small.
DIST_BINARY = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/dist/pykv
DIST_BYTES_MAX = 8000000

dist: ## Build the small binary that packages hold, target/dist/pykv, and check its size
	PYKV_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) $(CARGO) build --profile dist --locked
	@bytes=$$(stat -c %s $(DIST_BINARY)); \
	[ "$$bytes" -le $(DIST_BYTES_MAX) ] || \
		{ echo "make dist: $(DIST_BINARY) has $$bytes bytes, and may have $(DIST_BYTES_MAX)" >&2; exit 1; }

# In a package. It needs cargo-deb, which is built where it is missing.
deb: dist ## Build a Debian package, target/debian/pykv_*.deb
	@$(CARGO) deb --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deb
	PYKV_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) $(CARGO) deb --locked --profile dist

# For root, with debootstrap: the folder is kept for the next time.
deb-try: deb ## Install the package into a Debian in target/debootstrap, and use a node there
	contrib/debian/try "$$(ls -t target/debian/pykv_*.deb | head -n 1)" target/debootstrap

bench: build ## Measure the parts alone, then speed and memory beside other stores
	$(CARGO) bench --locked --bench node
	benches/run

# Left out where it is not installed, because building it takes minutes. CI asks for advisories too, which it downloads.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || \
		{ echo 'make lint: cargo-deny is missing, so licences and sources of crates are not checked; `cargo install --locked cargo-deny`' >&2; exit 0; }; \
	$(CARGO) deny --locked check --hide-inclusion-graph licenses bans sources

lint: deny ## Check format, lints, documentation, and with cargo-deny the dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

doc: ## Build the documentation of the source
	$(CARGO) doc --locked --no-deps --document-private-items

man: ## Write the manual pages anew, from the command line's definitions
	PYKV_WRITE_MAN=1 $(CARGO) test --locked --test man

# Not after `build`: `make build && sudo make install` needs no toolchain of root's.
install: ## Install the binary and the manual pages under PREFIX
	@test -x $(BINARY) || { echo 'make install: run `make build` first' >&2; exit 1; }
	install -d $(BINDIR) $(MANDIR)
	install -m 755 $(BINARY) $(BINDIR)/pykv
	install -m 644 man/*.1 $(MANDIR)

uninstall: ## Remove what `make install` installed
	rm -f $(BINDIR)/pykv $(MANDIR)/pykv.1 $(MANDIR)/pykv-*.1

clean: ## Remove what was built
	$(CARGO) clean
