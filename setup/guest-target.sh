#!/usr/bin/env bash
# Makes this machine able to compile procs to WebAssembly, in one of two ways:
#   rustup   the target wasm32-unknown-unknown of the installed toolchain
#   debian   Debian's rustc with the standard library's sources (no rustup server)
# QUERN_WASM_ROUTE=debian or rustup chooses; unset, an installed target is taken,
# else rustup is asked for one, else Debian. `quern proc build` finds the same.
set -eu
cd "$(dirname "$0")/.."
. setup/common.sh

target=wasm32-unknown-unknown
packages="rustc-web rust-web-src"

target_installed() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

# Debian's compiler is there, recent enough, and has the sources beside it.
debian_ready() {
    local minor sysroot
    [ -x /usr/bin/rustc ] || return 1
    minor=$(/usr/bin/rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 95 ] || return 1
    sysroot=$(/usr/bin/rustc --print sysroot)
    [ -d "$sysroot/lib/rustlib/src/rust/library/std" ]
}

# Debian's own Rust packages and these exclude each other; removing somebody's
# compiler is not ours to decide.
refuse_conflicts() {
    local name found=""
    for name in rustc rustup cargo rust-src rustc-mozilla rust-mozilla-src libstd-rust-mozilla-dev; do
        if dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed; then
            found="$found $name"
        fi
    done
    [ -z "$found" ] || fail "the Debian packages$found conflict with $packages; remove them first: apt-get remove$found"
}

install_debian() {
    command -v apt-get >/dev/null || fail "no apt-get here; install the target with: rustup target add $target"
    refuse_conflicts
    can_apt || fail "Debian's Rust compiler is missing; run: $(by_hand $packages)"
    echo "installing $packages, to compile procs to WebAssembly"
    apt_install $packages || fail "could not install them; run: $(by_hand $packages)"
    debian_ready || fail "/usr/bin/rustc is $(/usr/bin/rustc --version 2>&1), 1.95 or newer with its sources is needed; see: apt-cache policy $packages"
}

rustup_target() {
    command -v rustup >/dev/null || return 1
    echo "installing the target $target with rustup"
    rustup target add "$target"
}

case "${QUERN_WASM_ROUTE:-}" in
debian)
    debian_ready || install_debian
    ;;
rustup)
    target_installed || rustup_target || fail "the target is missing; run: rustup target add $target"
    ;;
"")
    target_installed || debian_ready || rustup_target || install_debian
    ;;
*)
    fail "QUERN_WASM_ROUTE is \`$QUERN_WASM_ROUTE\`, it must be \`rustup\` or \`debian\`"
    ;;
esac
