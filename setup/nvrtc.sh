#!/usr/bin/env bash
# NVIDIA's own compiler of kernels, without the rest of CUDA: it needs no GPU. The
# tests compile every kernel with it, as users' machines do.
set -eu
. "$(dirname "$0")/common.sh"

cache=${QUERN_CACHE:-$HOME/.cache/quern}
home=$cache/nvrtc
package="nvidia-cuda-nvrtc==13.0.88"
stamp="$home/.package"

[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$package" ] && exit 0

echo "fetching $package (90 MB), with which the tests compile kernels, to $home"
rm -rf "$home"
"${QUERN_PYTHON:-$cache/python/bin/python}" -m pip install --quiet --no-deps --target "$home" "$package" ||
    fail "pip could not install $package into $home; the tests need it: look at the connection to PyPI, then try again"
printf '%s' "$package" >"$stamp"
