//! Each thing that can be wrong with a file gives one line that names it.

use std::path::PathBuf;

use quern::sql::ingest::{CsvOptions, Format, IdxOptions, Options, open};

use super::bad_statements::check;
use super::files::{mnist, unpacked};
use super::fixture::Folder;

/// The error of reading files to their end.
fn error(files: &[PathBuf], options: &Options) -> String {
    match open(files, options) {
        Err(e) => e.chain(),
        Ok(source) => match source.collect::<Result<Vec<_>, _>>() {
            Err(e) => e.chain(),
            Ok(batches) => panic!("{} batches were read", batches.len()),
        },
    }
}

/// A file with this content and the error of reading it, behind its name.
fn error_of(f: &Folder, name: &str, content: &[u8]) -> String {
    error_with(f, name, content, &Options::default())
}

fn error_with(f: &Folder, name: &str, content: &[u8], options: &Options) -> String {
    let path = f.file(name);
    std::fs::write(&path, content).unwrap();
    let found = error(std::slice::from_ref(&path), options);
    found.strip_prefix(&format!("{}: ", path.display())).map_or_else(|| found.clone(), str::to_owned)
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_missing_file_an_empty_file_and_a_folder_are_named() {
    let f = Folder::new();
    let missing = f.file("no.csv");
    assert_eq!(
        error(std::slice::from_ref(&missing), &Options::default()),
        format!("cannot read {}: No such file or directory (os error 2)", missing.display())
    );
    assert_eq!(error_of(&f, "empty.csv", b""), "the file is empty");
    let folder = f.dir.path().to_owned();
    assert_eq!(
        error(std::slice::from_ref(&folder), &Options::default()),
        format!("{}: this is a folder, not a file", folder.display())
    );
    assert_eq!(error(&[], &Options::default()), "no file to read");
}

#[test]
fn a_truncated_idx_file_says_how_many_bytes_are_missing() {
    let f = Folder::new();
    let whole = unpacked(&mnist("t10k-images-idx3-ubyte.gz"));
    for (length, message) in [
        (3, "the first bytes are not those of IDX, Parquet or Arrow IPC, and it is no text"),
        (10, "truncated: the header has 16 bytes, the file has 10"),
        (1000, "truncated: 10000 rows of 784 bytes take 7840016 bytes with the header, the file has 1000"),
        (7_840_015, "truncated: 10000 rows of 784 bytes take 7840016 bytes with the header, the file has 7840015"),
    ] {
        assert_eq!(error_of(&f, "images", &whole[..length]), message, "{length} bytes");
    }
    assert_eq!(
        error_of(&f, "images-ubyte", &whole[..3]),
        "truncated: an IDX header has at least 8 bytes, the file has 3"
    );
    assert_eq!(
        error_of(&f, "images.gz", &packed(&whole[..100_000])),
        "truncated: 10000 rows of 784 bytes take 7840016 bytes with the header, the file has 100000 when unpacked"
    );
    let mut long = whole.clone();
    long.extend([1, 2, 3]);
    assert_eq!(
        error_of(&f, "images", &long),
        "too long: 10000 rows of 784 bytes take 7840016 bytes with the header, the file has 7840019"
    );
    assert_eq!(
        error_of(&f, "images.gz", &packed(&long)),
        "too long: 10000 rows of 784 bytes take 7840016 bytes with the header, the file has 7840019 when unpacked"
    );
}

#[test]
fn damage_inside_gzip_is_found() {
    let f = Folder::new();
    let whole = std::fs::read(mnist("t10k-images-idx3-ubyte.gz")).unwrap();
    assert_eq!(
        error_of(&f, "images.gz", &whole[..whole.len() / 2]),
        "the gzip data ends early; the file is truncated, fetch it again"
    );
    assert_eq!(
        error_of(&f, "images.gz", &whole[..whole.len() - 1]),
        "the gzip data ends early; the file is truncated, fetch it again"
    );
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 0xff;
    let found = error_of(&f, "images.gz", &flipped);
    assert!(found.starts_with("the gzip data is damaged (") && found.ends_with("); fetch the file again"), "{found}");
    let mut torn = whole;
    for byte in &mut torn[500_000..500_100] {
        *byte = 0;
    }
    let found = error_of(&f, "images.gz", &torn);
    assert!(found.starts_with("the gzip data is damaged ("), "{found}");
}

#[test]
fn an_idx_file_with_another_beginning_is_refused() {
    let f = Folder::new();
    assert_eq!(
        error_of(&f, "t10k-images-idx3-ubyte", b"\x00\x01\x08\x03aaaa"),
        "not an IDX file: it begins with 00 01 08 03, not 00 00, a type and a rank"
    );
    let options = Options { format: Some(Format::Idx), ..Options::default() };
    assert_eq!(
        error_with(&f, "t.csv", b"a,b\n1,2\n", &options),
        "not an IDX file: it begins with 61 2c 62 0a, not 00 00, a type and a rank"
    );
    let huge = [0, 0, 8, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(
        error_of(&f, "x.idx", &huge),
        "its rows have shape [4294967295, 4294967295]; 1 to 2^28 elements are possible"
    );
    let none = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(error_of(&f, "x.idx", &none), "its rows have shape [0]; 1 to 2^28 elements are possible");
}

#[test]
fn images_and_labels_must_have_as_many_rows() {
    let files = [mnist("train-images-idx3-ubyte.gz"), mnist("t10k-labels-idx1-ubyte.gz")];
    assert_eq!(
        error(&files, &Options::default()),
        format!("{}: it has 10000 rows, but {} has 60000", files[1].display(), files[0].display())
    );
    let options = Options { idx: IdxOptions { ids: false, one_hot_classes: Some(7) }, ..Options::default() };
    assert_eq!(
        error(&[mnist("t10k-labels-idx1-ubyte.gz")], &options),
        format!("{}: label 7 of row 0 is not one of 7 classes", mnist("t10k-labels-idx1-ubyte.gz").display())
    );
}

#[test]
fn csv_errors_name_line_and_column() {
    let f = Folder::new();
    for (text, message) in [
        ("a,b\n1,2\n3\n", "line 3: 1 field, the first line has 2"),
        ("a,b\n1,\"x\ny\"\n3,4,5\n", "line 4: 3 fields, the first line has 2"),
        ("a,b\n1,\"x\n2,3\n", "line 2: a quote is opened here and never closed"),
        ("a,b\n1,\"x\"y\n", "line 2: text follows a closing quote; a quote inside quotes is written twice"),
        ("a,a\n1,2\n", "column `a` exists already"),
        ("a,A\n1,2\n", "column `A` exists already"),
        ("a,b\n1,\u{0}\n", "the first bytes are not those of IDX, Parquet or Arrow IPC, and it is no text"),
    ] {
        assert_eq!(error_of(&f, "t.csv", text.as_bytes()), message, "{text:?}");
    }
    assert_eq!(error_of(&f, "t.csv", b"a,b\nx,y\nx,\xff\n"), "line 3: column `b` is not UTF-8 text");
}

#[test]
fn a_csv_value_of_another_type_names_line_column_and_value() {
    let f = Folder::new();
    let with = |column: &str| Options { columns: vec![column.parse().unwrap()], ..Options::default() };
    let mut wrong = Vec::new();
    for (column, value, message) in [
        ("b=int32", "abc", "line 3, column `b`: `abc` is not int32"),
        ("b=uint8", "256", "line 3, column `b`: `256` is not uint8"),
        ("b=int8", "1.5", "line 3, column `b`: `1.5` is not int8"),
        ("b=date", "2024-02-30", "line 3, column `b`: `2024-02-30` is not date"),
        ("b=date", "2024-02-29 10:00", "line 3, column `b`: `2024-02-29 10:00` is not date"),
        ("b=uuid", "x", "line 3, column `b`: `x` is not uuid"),
        ("b=ipv4", "10.0.0.256", "line 3, column `b`: `10.0.0.256` is not ipv4"),
        ("b=json", "{", "line 3, column `b`: `{` is not json"),
        ("b=bool", "maybe", "line 3, column `b`: `maybe` is not bool"),
        ("b=decimal(4,2)", "100.5", "line 3, column `b`: `100.5` is not decimal(4,2)"),
    ] {
        let text = format!("a,b\n1,\n2,{value}\n");
        check(&mut wrong, column, &error_with(&f, "t.csv", text.as_bytes(), &with(column)), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        error_with(&f, "t.csv", b"a,b\n1,5\n2,\n", &with("b=int32 not null")),
        "line 3, column `b`: no value, but the column is not null"
    );
    let text = "a,b\n1,\"[1,2]\"\n2,\"[1,2,3]\"\n";
    assert_eq!(
        error_with(&f, "t.csv", text.as_bytes(), &with("b=tensor(float32,[2])")),
        "line 3, column `b`: `[1,2,3]` is not tensor(float32,[2])"
    );
    let path = f.file("t.csv");
    assert_eq!(
        error_with(&f, "t.csv", b"alpha,b\n1,2\n", &with("alpa=int32")),
        format!("no column `alpa` in {}; did you mean `alpha`?", path.display())
    );
    let mut late = String::from("a\n");
    (0..30_000).for_each(|i| late.push_str(&format!("{i}\n")));
    late.push_str("x\n");
    assert_eq!(
        error_of(&f, "t.csv", late.as_bytes()),
        "line 30002, column `a`: `x` is not int64; the type was inferred from the first rows, another is given as a=utf8"
    );
}

#[test]
fn several_files_must_have_the_same_columns() {
    let f = Folder::new();
    let (first, second) = (f.file("a.csv"), f.file("b.csv"));
    std::fs::write(&first, "a,b\n1,2\n").unwrap();
    std::fs::write(&second, "a,c\n1,2\n").unwrap();
    assert_eq!(
        error(&[first, second.clone()], &Options::default()),
        format!("{}: its columns are a, c, those of the file before are a, b", second.display())
    );
    let options = Options { names: Some(vec!["x".to_owned()]), ..Options::default() };
    assert_eq!(error_with(&f, "t.csv", b"a,b\n1,2\n", &options), "1 name for 2 columns: a, b");
}

#[test]
fn files_that_are_not_parquet_or_arrow_are_refused() {
    let f = Folder::new();
    for (name, content) in
        [("t.parquet", &b"PAR1 is not enough"[..]), ("t.parquet", b"hello"), ("t.arrow", b"ARROW1 is not enough")]
    {
        let found = error_of(&f, name, content);
        let kind = if name.ends_with("parquet") { "Parquet" } else { "Arrow IPC" };
        assert!(
            found.starts_with(&format!("not a readable {kind} file (")) && found.ends_with("; it may be truncated"),
            "{found}"
        );
        assert!(!found.contains('\n'), "{found}");
    }
    assert_eq!(
        error_of(&f, "t.parquet.gz", &packed(b"PAR1 is not enough")),
        "this format cannot be read inside .gz; unpack it first (gunzip)"
    );
}

#[test]
fn a_bad_file_leaves_no_table_and_no_rows() {
    let f = Folder::new();
    let mut text = String::from("a,b\n");
    (0..50_000).for_each(|i| text.push_str(&format!("{i},1\n")));
    text.push_str("x,1\n");
    let path = f.file("late.csv");
    std::fs::write(&path, text).unwrap();
    let found = f.error(&format!("IMPORT '{}' INTO t", path.display()));
    assert!(found.contains("line 50002, column `a`: `x` is not int64"), "{found}");
    assert_eq!(f.rows("SHOW TABLES").len(), 0);
    f.run("CREATE TABLE t (a bigint, b bigint)");
    f.error(&format!("IMPORT '{}' INTO t", path.display()));
    assert_eq!(f.value("SELECT count(*) FROM t"), "0");
    assert_eq!(f.reopened().value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_delimiter_is_one_character() {
    assert_eq!(quern::sql::delimiter("\\t").unwrap(), b'\t');
    assert_eq!(
        quern::sql::delimiter("ab").unwrap_err().to_string(),
        "delimiter `ab` is not one character; write , ; | or \\t"
    );
    let csv = CsvOptions { header: Some(true), delimiter: Some(b';'), ..CsvOptions::default() };
    let f = Folder::new();
    let path = f.file("t.csv");
    std::fs::write(&path, "a,b;c\n1,2;3\n").unwrap();
    let source = open(&[path], &Options { csv, ..Options::default() }).unwrap();
    assert_eq!(super::files::columns(&source), ["a,b utf8?", "c int64?"]);
}

#[test]
fn a_packed_idx_file_that_claims_huge_rows_is_refused_by_its_size() {
    let f = Folder::new();
    // 8,192 rows of 2^26 float64, with no row behind the header.
    let header = [[0, 0, 0x0e, 2], 8192u32.to_be_bytes(), (1u32 << 26).to_be_bytes()].concat();
    let said = error_of(&f, "huge.gz", &packed(&header));
    assert!(said.contains("12 bytes"), "{said}");
    let options = Options {
        idx: IdxOptions { one_hot_classes: Some(usize::MAX), ..IdxOptions::default() },
        ..Options::default()
    };
    let labels = [[0, 0, 0x08, 1], 1u32.to_be_bytes()].concat();
    let said = error_with(&f, "labels", &[labels, vec![3]].concat(), &options);
    assert_eq!(said, format!("{} classes asked for one-hot labels, at most 1048576", usize::MAX));
}

#[test]
fn a_type_that_is_spelled_too_long_is_refused() {
    let nested = format!("{}int64{}", "list(".repeat(100_000), ")".repeat(100_000));
    let said = nested.parse::<quern::base::ColumnType>().unwrap_err().to_string();
    assert_eq!(said, format!("a column type has at most 256 bytes, not {}", nested.len()));
}
