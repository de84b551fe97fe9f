//! Reading files: the real MNIST and every format, values and types.

use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, UInt8Type};
use quern::base::{ColumnType, DType};
use quern::sql::ingest::{BATCH_ROWS, CsvOptions, IdxOptions, Options, Source, open};
use sha2::{Digest, Sha256};

use super::fixture::Folder;

pub(super) fn mnist(name: &str) -> PathBuf {
    crate::support::tests_folder().join("data/mnist").join(name)
}

/// Columns as `name type`, a `?` behind those that may lack a value.
pub(super) fn columns(source: &Source) -> Vec<String> {
    let columns = source.schema().columns().iter();
    columns.map(|c| format!("{} {}{}", c.name, c.column_type, if c.nullable { "?" } else { "" })).collect()
}

fn batches(source: Source) -> Vec<RecordBatch> {
    source.map(|batch| batch.unwrap_or_else(|e| panic!("{}", e.chain()))).collect()
}

/// All bytes of a tensor(uint8) column.
fn bytes(batches: &[RecordBatch], column: usize) -> Vec<u8> {
    let parts = batches.iter().map(|batch| {
        let list = batch.column(column).as_fixed_size_list();
        list.values().as_primitive::<UInt8Type>().values().to_vec()
    });
    parts.flatten().collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_training_images_of_mnist_are_read_whole() {
    let options = Options { idx: IdxOptions { ids: true, one_hot_classes: Some(10) }, ..Options::default() };
    let files = [mnist("train-images-idx3-ubyte.gz"), mnist("train-labels-idx1-ubyte.gz")];
    let source = open(&files, &options).unwrap();
    assert_eq!(source.rows(), Some(60_000));
    assert_eq!(
        columns(&source),
        ["id int64", "data tensor(uint8,[28,28])", "onehot_label tensor(uint8,[10])", "readable_label int32"]
    );
    let all = batches(source);
    assert!(all.iter().all(|batch| batch.num_rows() <= BATCH_ROWS));
    assert_eq!(sha256(&bytes(&all, 1)), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757");
    let ids: Vec<i64> = all.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids, (0..60_000).collect::<Vec<_>>());
    let labels: Vec<i32> = all.iter().flat_map(|b| b.column(3).as_primitive::<Int32Type>().values().to_vec()).collect();
    assert_eq!(labels[..8], [5, 0, 4, 1, 9, 2, 1, 3]);
    let counts: Vec<usize> = (0..10).map(|digit| labels.iter().filter(|label| **label == digit).count()).collect();
    assert_eq!(counts, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let one_hot = bytes(&all, 2);
    for (row, label) in labels.iter().enumerate() {
        let vector = &one_hot[row * 10..row * 10 + 10];
        assert!(vector.iter().enumerate().all(|(digit, bit)| *bit == u8::from(digit as i32 == *label)), "row {row}");
    }
}

#[test]
fn the_test_images_of_mnist_are_read_packed_and_unpacked() {
    let packed = mnist("t10k-images-idx3-ubyte.gz");
    let source = open(std::slice::from_ref(&packed), &Options::default()).unwrap();
    assert_eq!(columns(&source), ["data tensor(uint8,[28,28])"]);
    let expected = "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161";
    assert_eq!(sha256(&bytes(&batches(source), 0)), expected);
    let f = Folder::new();
    let plain = f.file("images");
    std::fs::write(&plain, unpacked(&packed)).unwrap();
    assert_eq!(sha256(&bytes(&batches(open(&[plain], &Options::default()).unwrap()), 0)), expected);
    let labels = open(&[mnist("t10k-labels-idx1-ubyte.gz")], &Options::default()).unwrap();
    assert_eq!(columns(&labels), ["label uint8"]);
    let sum: u64 = batches(labels)
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<UInt8Type>().values().to_vec())
        .map(u64::from)
        .sum();
    assert_eq!(sum, 44_434);
}

pub(super) fn unpacked(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut content).unwrap();
    content
}

#[test]
fn sixty_thousand_images_are_decoded_quickly() {
    let options = Options { idx: IdxOptions { ids: true, one_hot_classes: Some(10) }, ..Options::default() };
    let files = [mnist("train-images-idx3-ubyte.gz"), mnist("train-labels-idx1-ubyte.gz")];
    let start = std::time::Instant::now();
    let rows: usize = open(&files, &options).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 60_000);
    assert!(start.elapsed().as_secs_f64() < 3.0, "decoding took {:?}", start.elapsed());
}

#[test]
fn mnist_is_queried_after_its_import() {
    let f = Folder::new();
    let (images, labels) = (mnist("t10k-images-idx3-ubyte.gz"), mnist("t10k-labels-idx1-ubyte.gz"));
    let message = f.run(&format!(
        "IMPORT '{}', '{}' INTO digits WITH (ids = true, one_hot = 10)",
        images.display(),
        labels.display()
    ));
    assert_eq!(message, "created table `digits`: 10,000 rows from 2 files");
    assert_eq!(
        f.rows("SELECT readable_label, count(*) FROM digits GROUP BY 1 ORDER BY 1"),
        ["0|980", "1|1135", "2|1032", "3|1010", "4|982", "5|892", "6|958", "7|1028", "8|974", "9|1009"]
    );
    assert_eq!(f.rows("SELECT onehot_label FROM digits WHERE id = 0"), ["[0,0,0,0,0,0,0,1,0,0]"]);
}

#[test]
fn big_endian_numbers_of_idx_are_read() {
    let f = Folder::new();
    let path = f.file("floats.idx");
    let mut file = vec![0, 0, 0x0d, 2, 0, 0, 0, 2, 0, 0, 0, 3];
    for value in [1.0f32, -2.5, 3.0, 0.0, 1e10, -0.25] {
        file.extend(value.to_be_bytes());
    }
    std::fs::write(&path, file).unwrap();
    f.run(&format!("IMPORT '{}' INTO t", path.display()));
    assert_eq!(f.rows("SELECT * FROM t"), ["[1.0,-2.5,3.0]", "[0.0,10000000000.0,-0.25]"]);
}

#[test]
fn csv_types_are_inferred_and_overridden() {
    let f = Folder::new();
    let path = f.file("t.csv");
    let text = "i,u,f,b,d,t,at,id,txt,empty,\"odd, name\"\n\
        1,18446744073709551615,1.5,true,2024-02-29,10:30:00,2024-02-29 10:30:00,67e55044-10b1-426f-9247-bb680e5fe0c8,007x,,\"a\nb\"\n\
        -2,1,1e3,FALSE,1969-12-31,23:59:59.5,1969-12-31T00:00:00.25,00000000-0000-0000-0000-000000000000,,,\"say \"\"hi\"\"\"\n";
    std::fs::write(&path, text).unwrap();
    let source = open(std::slice::from_ref(&path), &Options::default()).unwrap();
    assert_eq!(
        columns(&source),
        [
            "i int64?",
            "u uint64?",
            "f float64?",
            "b bool?",
            "d date?",
            "t time?",
            "at timestamp?",
            "id uuid?",
            "txt utf8?",
            "empty utf8?",
            "odd, name utf8?"
        ]
    );
    f.run(&format!("IMPORT '{}' INTO t", path.display()));
    assert_eq!(
        f.rows("SELECT * FROM t"),
        [
            "1|18446744073709551615|1.5|true|2024-02-29|10:30:00|2024-02-29 10:30:00|67e55044-10b1-426f-9247-bb680e5fe0c8|007x|NULL|a\nb",
            "-2|1|1000.0|false|1969-12-31|23:59:59.500|1969-12-31 00:00:00.250|00000000-0000-0000-0000-000000000000|NULL|NULL|say \"hi\""
        ]
    );
    let overrides = ["i=float32", "txt=utf8 not null", "d=utf8"].map(|text| text.parse().unwrap()).to_vec();
    let csv = CsvOptions { nulls: vec!["none".to_owned()], ..CsvOptions::default() };
    let source = open(&[path], &Options { columns: overrides, csv, ..Options::default() }).unwrap();
    let found = columns(&source);
    assert_eq!([&found[0], &found[4], &found[8]], ["i float32?", "d utf8?", "txt utf8"]);
}

#[test]
fn csv_without_header_with_other_delimiters_and_line_ends_is_read() {
    let f = Folder::new();
    let path = f.file("t.txt");
    for (text, expected) in [
        ("1;2\r\n3;4\r\n", ["1|2", "3|4"]),
        ("1\t2\n3\t4", ["1|2", "3|4"]),
        ("\u{feff}1|2\r3|4\r", ["1|2", "3|4"]),
        ("\n1,2\n\n3,4\n\n", ["1|2", "3|4"]),
    ] {
        std::fs::write(&path, text).unwrap();
        f.run(&format!("DROP TABLE IF EXISTS t; IMPORT '{}' INTO t", path.display()));
        assert_eq!(f.rows("SELECT column_1, column_2 FROM t"), expected, "{text:?}");
    }
    let options = Options { names: Some(vec!["a".into(), "b".into()]), ..Options::default() };
    assert_eq!(columns(&open(&[path], &options).unwrap()), ["a int64?", "b int64?"]);
}

#[test]
fn a_csv_header_may_leave_a_column_without_a_name() {
    let f = Folder::new();
    let path = f.file("t.csv");
    for (text, expected) in [
        (",a,b\n0,1,2\n", vec!["column_1 int64?", "a int64?", "b int64?"]),
        ("a,,c\n1,x,3\n", vec!["a int64?", "column_2 utf8?", "c int64?"]),
        (",\n1,2\n", vec!["column_1 int64?", "column_2 int64?"]),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(columns(&open(std::slice::from_ref(&path), &Options::default()).unwrap()), expected, "{text:?}");
    }
}

#[test]
fn csv_floats_may_be_infinite_or_no_number() {
    let f = Folder::new();
    let path = f.file("t.csv");
    std::fs::write(&path, "id,x,name\n1,nan,nan\n2,inf,inf\n3,-Infinity,-inf\n4,1.5,\n").unwrap();
    assert_eq!(
        columns(&open(std::slice::from_ref(&path), &Options::default()).unwrap()),
        ["id int64?", "x float64?", "name utf8?"]
    );
    f.run(&format!("IMPORT '{}' INTO t", path.display()));
    assert_eq!(f.rows("SELECT id FROM t WHERE x > 1e300 ORDER BY id"), ["1", "2"], "NaN is above all");
    assert_eq!(f.rows("SELECT id FROM t WHERE x < 2 ORDER BY id"), ["3", "4"]);
}

#[test]
fn rows_are_appended_by_name_whatever_the_case() {
    let f = Folder::new();
    let path = f.file("t.csv");
    f.run("CREATE TABLE t (id int, name text)");
    std::fs::write(&path, "NAME,Id\na,1\n").unwrap();
    f.run(&format!("IMPORT '{}' INTO t", path.display()));
    assert_eq!(f.rows("SELECT id, name FROM t"), ["1|a"]);
}

#[test]
fn options_of_another_format_are_refused() {
    let f = Folder::new();
    let path = f.file("t.csv");
    std::fs::write(&path, "a\n1\n").unwrap();
    assert_eq!(
        f.error(&format!("IMPORT '{}' INTO t WITH (one_hot = 10)", path.display())),
        format!("ids and one-hot labels are for IDX files; {} is not one", path.display())
    );
    let labels = mnist("t10k-labels-idx1-ubyte.gz");
    assert_eq!(
        f.error(&format!("IMPORT '{}' INTO t WITH (header = true)", labels.display())),
        format!("header, delimiter and null are for CSV files; {} is not one", labels.display())
    );
    assert_eq!(
        f.error(&format!("IMPORT '{}' INTO t WITH (names = 'a,b')", labels.display())),
        format!("{}: 2 names for 1 column: label", labels.display())
    );
}

#[test]
fn csv_longer_than_a_batch_keeps_every_row() {
    let f = Folder::new();
    let mut text = String::from("id,name\n");
    (0..50_000).for_each(|id| text.push_str(&format!("{id},\"name, {id}\"\n")));
    let (first, second) = (f.file("a.csv.gz"), f.file("b.csv"));
    let mut packed = flate2::write::GzEncoder::new(std::fs::File::create(&first).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    packed.finish().unwrap();
    std::fs::write(&second, text).unwrap();
    f.run(&format!("IMPORT '{}', '{}' INTO t", first.display(), second.display()));
    assert_eq!(f.rows("SELECT count(*), sum(id), count(DISTINCT name) FROM t"), ["100000|2499950000|50000"]);
}

#[test]
fn parquet_and_arrow_files_of_pyarrow_are_read() {
    let f = Folder::new();
    let program = "
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.ipc as ipc, sys, datetime
folder = sys.argv[1]
n = 20000
start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
table = pa.table({
    'id': pa.array(range(n), pa.int64()),
    'name': pa.array([None if i % 3 == 0 else f'n{i % 7}' for i in range(n)]).dictionary_encode(),
    'at': pa.array([start + datetime.timedelta(seconds=i) for i in range(n)], pa.timestamp('ns', 'Europe/Berlin')),
    'vec': pa.array([[float(i), 0.5] for i in range(n)], pa.list_(pa.float32(), 2)),
    'tags': pa.array([['a'] * (i % 3) for i in range(n)], pa.large_list(pa.string())),
    'raw': pa.array([bytes([i % 256]) for i in range(n)], pa.binary()),
    'price': pa.array([i for i in range(n)], pa.int64()).cast(pa.decimal128(22, 2)),
})
pq.write_table(table, folder + '/t.parquet', row_group_size=3000)
with ipc.new_file(folder + '/t.arrow', table.schema) as w: w.write_table(table)
with ipc.new_stream(folder + '/s.arrows', table.schema) as w: w.write_table(table, max_chunksize=777)
";
    let status = Command::new(crate::support::python()).args(["-c", program]).arg(f.dir.path()).status().unwrap();
    assert!(status.success());
    for name in ["t.parquet", "t.arrow", "s.arrows"] {
        let path = f.file(name);
        let source = open(std::slice::from_ref(&path), &Options::default()).unwrap();
        assert_eq!(
            columns(&source),
            [
                "id int64?",
                "name utf8?",
                "at timestamp?",
                "vec tensor(float32,[2])?",
                "tags list(utf8)?",
                "raw binary?",
                "price decimal(22,2)?"
            ],
            "{name}"
        );
        f.run(&format!("DROP TABLE IF EXISTS t; IMPORT '{}' INTO t", path.display()));
        assert_eq!(
            f.rows("SELECT count(*), sum(id), count(name), max(at), sum(vec[1]), sum(array_length(tags)), sum(price) FROM t"),
            ["20000|199990000|13333|2024-01-01 05:33:19|199990000.0|19999|199990000.00"],
            "{name}"
        );
        assert_eq!(
            f.rows("SELECT * FROM t WHERE id = 5"),
            ["5|n5|2024-01-01 00:00:05|[5.0,0.5]|[\"a\",\"a\"]|\\x05|5.00"],
            "{name}"
        );
    }
}

#[test]
fn types_of_a_file_are_overridden_by_name() {
    let f = Folder::new();
    let labels = mnist("t10k-labels-idx1-ubyte.gz");
    let options = Options {
        names: Some(vec!["digit".to_owned()]),
        columns: vec!["digit=int64 not null".parse().unwrap()],
        ..Options::default()
    };
    let source = open(std::slice::from_ref(&labels), &options).unwrap();
    assert_eq!(source.schema().columns()[0].column_type, ColumnType::Number(DType::I64));
    assert_eq!(columns(&source), ["digit int64"]);
    let sum: i64 = batches(source).iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).sum();
    assert_eq!(sum, 44_434);
    f.run("CREATE TABLE t (extra text, digit smallint)");
    f.run(&format!("IMPORT '{}' INTO t WITH (names = 'digit')", labels.display()));
    assert_eq!(f.rows("SELECT count(extra), count(*), sum(digit) FROM t"), ["0|10000|44434"]);
}
