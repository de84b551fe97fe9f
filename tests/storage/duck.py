"""Runs SQL on a Quern folder with DuckDB, in a process of its own.

usage: duck.py FOLDER ro|rw < statements, a JSON list    → results, a JSON list of lists of rows
"""

import datetime
import decimal
import json
import os
import struct
import sys
import uuid

import duckdb
import duckdb_extension_ducklake
import duckdb_extension_sqlite_scanner


def plain(value):
    """A value as JSON has it: bytes and floats in hexadecimal, the rest as text."""
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return struct.pack("<d", value).hex()
    return value


def main():
    folder, mode = sys.argv[1:]
    con = duckdb.connect()
    for package, name in ((duckdb_extension_sqlite_scanner, "sqlite_scanner"), (duckdb_extension_ducklake, "ducklake")):
        where = os.path.join(os.path.dirname(package.__file__), "extensions", "v1.5.5", name + ".duckdb_extension")
        con.execute(f"LOAD '{where}'")
    options = "(READ_ONLY)" if mode == "ro" else ""
    con.execute(f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS quern {options}")
    con.execute("USE quern")
    results = []
    for statement in json.load(sys.stdin):
        result = con.execute(statement)
        results.append([plain(row) for row in result.fetchall()] if result.description else [])
    con.close()
    print(json.dumps(results))


main()
