#!/usr/bin/env bash
# The independent readers that tests compare with, in a Python environment of
# their own: DuckDB with its DuckLake extension, pyarrow, safetensors.
set -eu

home=${QUERN_CACHE:-$HOME/.cache/quern}/python
packages="duckdb==1.5.5 duckdb-extension-ducklake==1.5.5 duckdb-extension-sqlite-scanner==1.5.5 pytz pyarrow safetensors numpy"
stamp="$home/.packages"

[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$packages" ] && exit 0

echo "preparing Python readers for the tests in $home"
if ! python3 -m venv "$home" >/dev/null 2>&1; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    { $as_root apt-get update && $as_root apt-get install -y --no-install-recommends python3-venv; } >/dev/null 2>&1 || true
    python3 -m venv "$home" >/dev/null || {
        echo "error: Python's venv is missing; run: ${as_root:+$as_root }apt-get install -y python3-venv" >&2
        exit 1
    }
fi
# shellcheck disable=SC2086
"$home/bin/python" -m pip install --quiet $packages || {
    echo "error: pip could not install: $packages" >&2
    exit 1
}
printf '%s' "$packages" >"$stamp"
