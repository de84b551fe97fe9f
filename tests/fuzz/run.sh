#!/usr/bin/env bash
# Builds the fuzzer and starts it with the given options of libFuzzer, or with a
# file to execute just that: `run.sh -max_total_time=60`. `make fuzz` calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."
fuzz=$PWD/tests/fuzz
made=$CARGO_TARGET_DIR/fuzz
mkdir -p "$made/corpus"

# The wrapper is called for the crates of this workspace only, so that the
# dependencies are those of all other builds.
RUSTC_WORKSPACE_WRAPPER=$fuzz/instrumented-rustc.sh \
    cargo build --quiet -p quern-tests --features libfuzzer --bin fuzz-calls

options=(-max_len=256 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 "-artifact_prefix=$made/")
places=("$made/corpus" "$fuzz/corpus" "$fuzz/regressions")
for arg; do [ -f "$arg" ] && places=(); done

# Where jobs write their logs.
cd "$made"
"$CARGO_TARGET_DIR/debug/fuzz-calls" "${options[@]}" "$@" "${places[@]}" 2>&1 \
    | grep --line-buffered -av -e '	NEW ' -e '	REDUCE ' -e 'NEW_FUNC' -e '^"' || {
    echo "a finding: tests/fuzz/README.md says what to do with its file in $made" >&2
    exit 1
}
