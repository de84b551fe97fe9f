#!/usr/bin/env bash
# Checks that this machine has an NVIDIA GPU and, where `sanitizer` is the argument,
# the tool that looks for faults of kernels on it. Installs nothing.
set -eu
. "$(dirname "$0")/common.sh"

toolkit=/usr/local/cuda/bin

nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU ' ||
    fail "this needs an NVIDIA GPU and its driver, but nvidia-smi lists none; \`make test\` without REQUIRE_CUDA=1 tests on a fake GPU"
if [ "${1:-}" = sanitizer ]; then
    PATH="$PATH:$toolkit" command -v compute-sanitizer >/dev/null ||
        fail "compute-sanitizer is missing, in \$PATH and in $toolkit; it comes with the CUDA toolkit"
fi
