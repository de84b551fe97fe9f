#!/bin/sh
# What cargo calls in place of rustc for the crates of this workspace, and for no
# other (RUSTC_WORKSPACE_WRAPPER): adds what guides libFuzzer, as cargo-fuzz does.
# Comparisons are not traced, which takes a quarter of the time: bytes are taken
# modulo what there is to choose, and never compared with a constant.
exec "$@" -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table
