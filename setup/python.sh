#!/usr/bin/env bash
# The independent readers that tests compare with, in a Python environment of
# their own: DuckDB with its DuckLake extension, pyarrow, safetensors.
set -eu
. "$(dirname "$0")/common.sh"

home=${QUERN_CACHE:-$HOME/.cache/quern}/python
packages="duckdb==1.5.5 duckdb-extension-ducklake==1.5.5 duckdb-extension-sqlite-scanner==1.5.5 pytz pyarrow safetensors numpy"
stamp="$home/.packages"

[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$packages" ] && exit 0

echo "preparing Python readers for the tests in $home"
if ! python3 -m venv "$home" >/dev/null 2>&1; then
    ! can_apt || apt_install python3-venv || true
    python3 -m venv "$home" >/dev/null || fail "Python's venv is missing; run: $(by_hand python3-venv)"
fi
# shellcheck disable=SC2086
"$home/bin/python" -m pip install --quiet $packages || fail "pip could not install: $packages"
printf '%s' "$packages" >"$stamp"
