#!/usr/bin/env bash
# Checks that this machine can build Quern: cargo, a C compiler, disk space.
# Installs the C compiler where apt is at hand, else names the command.
set -eu
. "$(dirname "$0")/common.sh"

need_gib=8

command -v cargo >/dev/null || fail "cargo is missing; install Rust 1.95 with rustup: https://rustup.rs"

# rustup's cargo honours rust-toolchain.toml; without that toolchain it says how to get it.
version=$(rustc --version 2>&1) || fail "this needs Rust 1.95 ($version); run: rustup toolchain install 1.95.0 --component rustfmt,clippy"
minor=$(printf '%s' "$version" | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
[ "${minor:-0}" -ge 95 ] || fail "this needs Rust 1.95 or newer, found: $version; run: rustup toolchain install 1.95.0"

if ! command -v cc >/dev/null; then
    packages="gcc libc6-dev"
    can_apt || fail "a C compiler is missing; run: $(by_hand $packages)"
    echo "installing a C compiler ($packages)"
    apt_install $packages || fail "could not install a C compiler; run: $(by_hand $packages)"
fi

cache=${QUERN_CACHE:-$HOME/.cache/quern}
mkdir -p "$cache"
if [ ! -e "$cache/target/debug/quern" ]; then
    free_kib=$(df -Pk "$cache" | awk 'NR==2{print $4}')
    [ "$free_kib" -ge $((need_gib * 1024 * 1024)) ] || fail "building needs $need_gib GiB free in $cache, there are $((free_kib / 1024 / 1024)) GiB; set QUERN_CACHE to a folder with more space"
    echo "first build: compiling about 400 crates, 15 to 20 minutes on 2 cores; later builds take seconds"
fi
