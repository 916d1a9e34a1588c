# Every recipe that a person or CI runs. Each is plain shell, so it can be copied from here without `just`.

# What CI runs, all of it.
check:
    .ci/run

# README's second command: unit, property and end-to-end tests.
test *ARGS:
    cargo test {{ARGS}}

# The shipped plugins as components, in target/guests/wasm32-wasip2/release.
plugins:
    cargo build --release --target wasm32-wasip2 --target-dir target/guests $(sed -n 's/^name = "\(.*\)"/-p \1/p' $(grep -l '"cdylib"' plugins/*/Cargo.toml))

# Brokers that nobody here wrote, for the end-to-end cases `brokers::…`.
brokers:
    tests/brokers/install

# README's first command: the main job on embedded brokers, with a tally at its end.
demo *ARGS:
    cargo demo {{ARGS}}

# The binary that is handed out, in target/dist: smaller than a release build, for some ten minutes.
binary:
    cargo build --profile dist --bin tidegate

# The packages, in target/packages: .deb, tarball, OCI image layout, list of contents, checksums (`host/package/dist`). For a Pi:
# `just dist aarch64-unknown-linux-gnu`, or `armv7-unknown-linux-gnueabihf` for 32 bits.
dist *TARGET:
    host/package/dist {{TARGET}}

# A package's whole life in a Debian root, as root: install, upgrade under traffic, a new version that fails, downgrade, purge.
package *ARGS:
    tests/package/run {{ARGS}}

# The figures of the README: hop, chain and spool by criterion, a long outage, then the whole way beside a bare relay.
bench:
    cargo bench --package tidegate-tests
    just whole-way

# Between two mosquittos: rate, CPU per message, latency and memory of gateway and bare relay in one run.
whole-way *ARGS: binary
    cargo build --release --bin relay --bin whole-way
    cp target/dist/tidegate target/release/
    target/release/whole-way {{ARGS}}

# What an alarm waits for beside telemetry at twice what the link carries.
priority *ARGS:
    cargo build --release --bin tidegate --bin relay --bin priority
    target/release/priority {{ARGS}}

# A change of a plugin while 10,000 messages a second flow: file saved to running, pauses, shadow, memory.
live-change *ARGS:
    cargo build --release --bin tidegate --bin live-change
    target/release/live-change {{ARGS}}

# What 1 to 1,000 flows of the three shipped plugins cost: start, threads, memory, processor time for each message.
flows *ARGS:
    cargo build --release --bin tidegate --bin flows
    target/release/flows {{ARGS}}

# The structure of the host, or of one part of it (`just structure chain`): files, circles, arrows back up, lengths, habits.
structure *ARGS:
    cargo run --bin structure -- {{ARGS}}

# Receipts and the hand-over to lanes under every order in which threads can meet.
loom:
    cargo run --manifest-path tests/loom/Cargo.toml --target-dir target/loom

# The long forms: 1,000 kills, 200 power cuts, thousands of damaged stores, 1,000 swaps at 10,000 messages a second, and
# three days of bad weather (`TIDEGATE_SOAK_HOURS=12 just soak`: half a day). Power cuts want root.
soak *ARGS:
    TIDEGATE_SOAK=1 cargo test --package tidegate --lib -- spool::
    TIDEGATE_SOAK=1 cargo test --test e2e -- {{ARGS}}

# Models and properties with cases that nobody drew before: many more than `.ci/run`, which draws the same each time.
models *ARGS:
    PROPTEST_CASES=${PROPTEST_CASES:-5000} cargo test --release --package tidegate --lib -- {{ARGS}}

# Mutation tests of the parts that do not know the engine (`tests/mutants/run` says how to take a slice). Hours.
mutants *ARGS:
    tests/mutants/run {{ARGS}}
