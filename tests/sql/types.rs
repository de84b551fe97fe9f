//! Every column type through SQL: spelled, stored, read, compared.

use super::fixture::Folder;

#[test]
fn every_type_is_stored_and_read_back() {
    for (spelling, shown, values) in [
        ("bool", "bool", "true, false, NULL"),
        ("tinyint", "int8", "-128, 127, NULL"),
        ("smallint", "int16", "-32768, 32767, NULL"),
        ("int", "int32", "-2147483648, 2147483647, NULL"),
        ("bigint", "int64", "-9223372036854775808, 9223372036854775807, NULL"),
        ("uint8", "uint8", "0, 255, NULL"),
        ("uint16", "uint16", "0, 65535, NULL"),
        ("uint32", "uint32", "0, 4294967295, NULL"),
        ("uint64", "uint64", "0, 18446744073709551615, NULL"),
        ("float16", "float16", "1.5, -0.25, NULL"),
        ("real", "float32", "1.5, -0.25, NULL"),
        ("double precision", "float64", "1.5, -0.1, NULL"),
        ("decimal(10, 2)", "decimal(10,2)", "12345678.90, -0.05, NULL"),
        ("varchar(20)", "utf8", "'', 'ünïcode', NULL"),
        ("bytea", "binary", "\\x00ff, \\x, NULL"),
        ("date", "date", "'1969-12-31', '2026-11-22', NULL"),
        ("time", "time", "'00:00:00', '23:59:59.123456', NULL"),
        ("timestamp", "timestamp", "'1969-12-31 23:59:59', '2026-11-22 10:29:21.123456', NULL"),
        ("uuid", "uuid", "'67e55044-10b1-426f-9247-bb680e5fe0c8', '00000000-0000-0000-0000-000000000000', NULL"),
        ("ipv4", "ipv4", "'0.0.0.0', '255.255.255.255', NULL"),
        ("json", "json", "'{}', '[1, null]', NULL"),
        ("int[]", "list(int32)", "[1,2,3], [], NULL"),
        ("list(text)", "list(utf8)", "['a'], ['b','c'], NULL"),
        ("vector(2)", "tensor(float32,[2])", "[1.5,2.0], [3.0,4.0], NULL"),
        ("tensor(uint8, [2, 2])", "tensor(uint8,[2,2])", "[[1,2],[3,4]], [[5,6],[7,8]], NULL"),
    ] {
        let f = Folder::new();
        f.run(&format!("CREATE TABLE t (a {spelling})"));
        assert_eq!(f.value("DESCRIBE t"), format!("a|{shown}|true"));
        let parts = split(values);
        for value in &parts {
            let value = if value.starts_with("\\x") { format!("'{value}'") } else { value.clone() };
            f.run(&format!("INSERT INTO t VALUES ({value})"));
        }
        let plain: Vec<String> = parts
            .iter()
            .map(|value| value.trim_matches('\'').replace("['", "[\"").replace("']", "\"]").replace("','", "\",\""))
            .collect();
        let found = f.rows("SELECT a FROM t");
        assert_eq!(found, plain, "{spelling}");
        let f = f.reopened();
        assert_eq!(f.rows("SELECT a FROM t"), plain, "{spelling} after reopening");
    }
}

/// Parts between commas that are in no bracket and no quote.
fn split(values: &str) -> Vec<String> {
    values.split(", ").fold(Vec::new(), |mut parts: Vec<String>, part| {
        match parts.last_mut() {
            Some(last) if last.matches('[').count() > last.matches(']').count() => {
                last.push_str(", ");
                last.push_str(part);
            }
            _ => parts.push(part.to_owned()),
        }
        parts
    })
}

#[test]
fn numbers_of_all_widths_add_up() {
    let f = Folder::new();
    f.run("CREATE TABLE t (a uint8, b float16, c float32, d decimal(10,2), e int8)");
    f.run("INSERT INTO t VALUES (200, 0.5, 1.5, 10.25, -1), (100, 0.25, 2.5, 0.75, -2)");
    assert_eq!(
        f.rows("SELECT sum(a), sum(c), sum(d), sum(e), avg(e), min(b), max(b), sum(b) FROM t"),
        ["300|4.0|11.00|-3|-1.5|0.25|0.5|0.75"]
    );
}

#[test]
fn text_of_exact_types_is_compared_and_grouped() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id uuid, ip ipv4)");
    f.run(
        "INSERT INTO t VALUES ('67E55044-10B1-426F-9247-BB680E5FE0C8', '10.0.0.1'), \
         ('67e55044-10b1-426f-9247-bb680e5fe0c8', '10.0.0.2')",
    );
    assert_eq!(f.rows("SELECT id, count(*) FROM t GROUP BY id"), ["67e55044-10b1-426f-9247-bb680e5fe0c8|2"]);
    assert_eq!(f.rows("SELECT ip FROM t WHERE ip = '10.0.0.2'"), ["10.0.0.2"]);
    f.run("INSERT INTO t SELECT id, '10.0.0.3' FROM t LIMIT 1");
    assert_eq!(f.value("SELECT count(*) FROM t"), "3");
}

#[test]
fn a_tensor_is_written_as_lists_text_or_bytes_and_read_by_element() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id int, x tensor(int16,[2,3]))");
    f.run("INSERT INTO t VALUES (1, [[1, 2, 3], [4, 5, -6]])");
    f.run("INSERT INTO t VALUES (2, [1, 2, 3, 4, 5, 6])");
    f.run("INSERT INTO t VALUES (3, '[[1, 2, 3], [4, 5, 6]]')");
    f.run("INSERT INTO t VALUES (4, X'010002000300040005000600')");
    let all = f.rows("SELECT x FROM t ORDER BY id");
    assert_eq!(all, ["[[1,2,3],[4,5,-6]]", "[[1,2,3],[4,5,6]]", "[[1,2,3],[4,5,6]]", "[[1,2,3],[4,5,6]]"]);
    assert_eq!(f.rows("SELECT x[6] FROM t ORDER BY id"), ["-6", "6", "6", "6"]);
    assert_eq!(f.rows("SELECT array_length(x), x[1] + x[2] FROM t LIMIT 1"), ["6|3"]);
}
