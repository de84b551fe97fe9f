#!/usr/bin/env bash
# Checks that there is a C++ compiler, for libFuzzer. Installs it where apt is at
# hand, else names the command.
set -eu
. "$(dirname "$0")/common.sh"

if ! command -v c++ >/dev/null; then
    can_apt || fail "a C++ compiler is missing; run: $(by_hand g++)"
    echo "installing a C++ compiler (g++)"
    apt_install g++ || fail "could not install a C++ compiler; run: $(by_hand g++)"
fi
