# What a developer does, by name. `make` alone starts the whole system.

.DEFAULT_GOAL := run
.PHONY: run test test-web lint demo bench soak try-upgrade servers pooler

# Where cargo puts what it builds. Programs are started from there: `cargo run` would build the dependencies again, with the
# features of one package instead of the workspace's.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# The whole system on this machine: http://127.0.0.1:8080. The build without `--release` takes a third of the time and
# has its dependencies optimised (see Cargo.toml): a request takes a few milliseconds.
run: servers
	cargo run --locked

# All tests, on a Postgres and a Redis that are started for them and gone afterwards.
test: servers pooler
	cargo build --locked --workspace --all-targets
	$(TARGET)/debug/examples/with-servers cargo test --locked --workspace

# What needs a browser, Node or Python: the pages in a real Chromium, the README's requests, the demo, clients made of the document,
# what the image and the composition name. Installs what is missing for it.
test-web: servers
	scripts/install-browser
	cargo build --locked --workspace --all-targets
	METRIQLAB_PROGRAM=$(TARGET)/debug/metriqlab npm test --prefix tests/web

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

# The README's walk by itself, the consent done as a browser would. It uses METRIQLAB_URL and METRIQLAB_API_KEY if they are
# set, else a system of its own in a folder that is gone afterwards.
demo: servers
	cargo build --locked
	cargo run --locked --example demo

# Figures, beside a peer or a limit measured in the same run; fails nothing. All of them, or some by name: `make bench
# BENCHES="queue sync"`. Without Node the queue's are shown alone.
bench: servers
	-scripts/install-bullmq
	cargo build --locked --release --workspace --bins --examples
	$(TARGET)/release/examples/with-servers cargo bench --locked --workspace $(addprefix --bench ,$(BENCHES))
	$(TARGET)/release/examples/with-servers cargo test --locked --release --workspace --lib -- --ignored --nocapture simulation

# Ten minutes of a fleet that is killed, paused and robbed of its servers while clients go on asking; the table at the end
# shows what was lost, done twice or answered wrongly: nothing. `SOAK_SECONDS=120 make soak` is shorter.
soak: servers
	cargo build --locked --release --workspace --bins
	cargo test --locked --release --workspace --test soak -- --ignored --nocapture

# A deploy, tried: processes of an earlier commit beside this one's, on this one's schema. `make try-upgrade FROM=v1.2`.
try-upgrade: servers
	scripts/try-upgrade $(FROM)

# Postgres and Redis, installed if they are missing.
servers:
	@scripts/install-servers postgres redis

# What a test puts in front of Postgres, installed if it is missing.
pooler:
	@scripts/install-servers pgbouncer
