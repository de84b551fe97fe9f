//! What an instance may write into an output, and what becomes of it in Arrow.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Float32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt32Type};
use quern::base::{Column, ColumnType, DType, ErrorCode, Schema};
use quern::device::KillSwitch;
use quern::table::{Cell, OutputBudget, OutputTable, RawColumn};

fn schema(columns: &[(&str, &str, bool)]) -> Schema {
    let column = |(name, column_type, nullable): &(&str, &str, bool)| Column {
        name: (*name).to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable: *nullable,
    };
    Schema::new(columns.iter().map(column).collect()).unwrap()
}

fn output(columns: &[(&str, &str, bool)]) -> OutputTable {
    OutputTable::new("out", schema(columns), OutputBudget::new(1 << 20)).unwrap()
}

fn fixed<'a>(rows: u64, values: &'a [u8]) -> RawColumn<'a> {
    RawColumn { rows, validity: None, offsets: None, values }
}

fn offsets(ends: &[i64]) -> Vec<u8> {
    ends.iter().flat_map(|end| end.to_le_bytes()).collect()
}

#[test]
fn new_rows_are_null_or_the_default_of_their_type() {
    let mut out = output(&[
        ("n", "int64", false),
        ("maybe", "float32", true),
        ("text", "utf8", false),
        ("doc", "json", false),
        ("pixels", "tensor(uint8,[2,2])", false),
        ("flag", "bool", false),
        ("tags", "list(utf8)", true),
    ]);
    out.resize(2).unwrap();
    let batches = out.into_batches().unwrap();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[0, 0]);
    assert_eq!(batch.column(1).null_count(), 2);
    assert_eq!(batch.column(2).as_string::<i32>().value(1), "");
    assert_eq!(batch.column(3).as_string::<i32>().value(1), "null");
    assert_eq!(batch.column(4).as_fixed_size_list().values().as_primitive::<UInt8Type>().values(), &[0; 8]);
    assert!(!batch.column(5).as_boolean().value(0));
    assert_eq!(batch.column(6).null_count(), 2);
}

#[test]
fn written_rows_come_out_with_the_types_of_the_schema() {
    let mut out = output(&[
        ("id", "int64", false),
        ("name", "utf8", true),
        ("file", "binary", false),
        ("flags", "tensor(bool,[3])", false),
        ("price", "decimal(5,2)", false),
    ]);
    out.resize(3).unwrap();
    out.write(0, 1, &fixed(2, bytemuck::bytes_of(&[7i64, -8]))).unwrap();
    let ends = offsets(&[0, 2, 2, 5]);
    let names = RawColumn { rows: 3, validity: Some(&[0b101]), offsets: Some(&ends), values: b"abxyz" };
    out.write(1, 0, &names).unwrap();
    let ends = offsets(&[0, 1]);
    out.write(2, 2, &RawColumn { rows: 1, validity: None, offsets: Some(&ends), values: &[9] }).unwrap();
    out.write(3, 0, &fixed(1, &[1, 0, 1])).unwrap();
    out.write(4, 0, &fixed(1, &(-99999i128).to_le_bytes())).unwrap();

    let expected = out.schema().to_arrow();
    let batch = out.into_batches().unwrap().remove(0);
    assert_eq!(batch.schema(), expected);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[0, 7, -8]);
    let names: Vec<Option<&str>> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("ab"), None, Some("xyz")]);
    let files: Vec<Option<&[u8]>> = batch.column(2).as_binary::<i64>().iter().collect();
    assert_eq!(files, [Some(&[][..]), Some(&[][..]), Some(&[9][..])]);
    let flags = batch.column(3).as_fixed_size_list().value(0);
    assert_eq!(flags.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), Some(true)]);
    assert_eq!(batch.column(4).as_primitive::<Decimal128Type>().value(0), -99999);
}

#[test]
fn rows_written_twice_and_out_of_order_keep_the_last_value() {
    let mut out = output(&[("text", "utf8", false)]);
    out.resize(3).unwrap();
    for (start, text) in [(2, "zz"), (0, "first"), (1, "y"), (0, "a")] {
        let ends = offsets(&[0, text.len() as i64]);
        let data = RawColumn { rows: 1, validity: None, offsets: Some(&ends), values: text.as_bytes() };
        out.write(0, start, &data).unwrap();
    }
    let batch = out.into_batches().unwrap().remove(0);
    let texts: Vec<Option<&str>> = batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("a"), Some("y"), Some("zz")]);
}

#[test]
fn a_device_tensor_fits_only_its_own_type_and_shape() {
    let mut out = output(&[("v", "tensor(float32,[2])", false), ("n", "int32", true)]);
    out.resize(2).unwrap();
    let target = out.tensor_target(0, 1, DType::F32, &[1, 2]).unwrap();
    target.copy_from_slice(bytemuck::bytes_of(&[1.5f32, -2.0]));
    let wrong = out.tensor_target(0, 0, DType::F32, &[1, 3]).unwrap_err();
    assert_eq!(wrong.to_string(), "column `v` is tensor(float32,[2]), the tensor is float32 [1, 3]");
    assert_eq!(wrong.code(), ErrorCode::TypeMismatch);
    let wrong = out.tensor_target(1, 0, DType::I64, &[2]).unwrap_err();
    assert_eq!(wrong.to_string(), "column `n` is int32, the tensor is int64 [2]");
    let wrong = out.tensor_target(1, 1, DType::I32, &[2]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "rows 1 to 3 of column `n` are not reserved; output `out` has 2 rows, call `resize` first"
    );
    out.tensor_target(1, 0, DType::I32, &[1]).unwrap();
    let batch = out.into_batches().unwrap().remove(0);
    let values = batch.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    assert_eq!(values, [0.0, 0.0, 1.5, -2.0]);
    assert_eq!(batch.column(1).nulls().unwrap().iter().collect::<Vec<_>>(), [true, false]);
}

#[test]
fn malformed_buffers_are_refused_and_change_nothing() {
    let mut out = output(&[("n", "int32", false), ("s", "utf8", false), ("b", "bool", false), ("j", "json", true)]);
    out.resize(2).unwrap();
    let text = |rows, offsets, values| RawColumn { rows, validity: None, offsets: Some(offsets), values };
    let (falling, short, late) = (offsets(&[0, 3, 1]), offsets(&[0, 1]), offsets(&[1, 2, 3]));
    let (good, long) = (offsets(&[0, 1, 2]), offsets(&[0, 1, 9]));
    let cases: Vec<(usize, u64, RawColumn<'_>, &str)> = vec![
        (0, 0, fixed(2, &[0; 7]), "column `n` is int32: 2 rows take 8 bytes of values, 7 were given"),
        (
            0,
            0,
            fixed(u64::MAX, &[]),
            "rows 0 to 18446744073709551615 of column `n` are not reserved; output `out` has 2 rows, call `resize` first",
        ),
        (
            0,
            u64::MAX,
            fixed(1, &[0; 4]),
            "rows 18446744073709551615 to 18446744073709551615 of column `n` are not reserved; \
             output `out` has 2 rows, call `resize` first",
        ),
        (0, 0, RawColumn { offsets: Some(&good), ..fixed(2, &[0; 8]) }, "column `n` is int32: it takes no offsets"),
        (0, 0, RawColumn { validity: Some(&[1]), ..fixed(2, &[0; 8]) }, "column `n` is not nullable, null was written"),
        (
            0,
            0,
            RawColumn { validity: Some(&[3, 0]), ..fixed(2, &[0; 8]) },
            "column `n`: the validity of 2 rows takes 1 bytes, 2 were given",
        ),
        (1, 0, fixed(2, b"ab"), "column `s`: a column of type utf8 needs offsets"),
        (1, 0, text(2, &falling, b"abc"), "column `s`: offset 2 is 1; offsets begin at 0 and do not fall"),
        (1, 0, text(2, &late, b"abc"), "column `s`: offset 0 is 1; offsets begin at 0 and do not fall"),
        (1, 0, text(2, &short, b"a"), "column `s`: 2 rows need 3 offsets of 8 bytes"),
        (1, 0, text(2, &long, b"ab"), "column `s`: the last offset is 9, 2 bytes were given"),
        (1, 0, text(2, &good, b"a\xff"), "column `s`: row 1 of what was written is not UTF-8"),
        (2, 0, fixed(2, &[1, 2]), "column `b`: a bool is one byte, 0 or 1"),
        (
            3,
            0,
            text(2, &good, b"1}"),
            "column `j`: row 1 of what was written is not JSON: expected value at line 1 column 1",
        ),
        (4, 0, fixed(0, &[]), "output `out` has no column 4"),
    ];
    for (column, start, data, message) in cases {
        assert_eq!(out.write(column, start, &data).unwrap_err().to_string(), message);
    }
    let batch = out.into_batches().unwrap().remove(0);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "");
    assert_eq!(batch.column(3).null_count(), 2);
}

#[test]
fn outputs_of_an_instance_share_the_limit_of_output_bytes() {
    let budget = OutputBudget::new(100);
    let mut first = OutputTable::new("a", schema(&[("n", "int64", false)]), budget.clone()).unwrap();
    let mut second = OutputTable::new("b", schema(&[("t", "utf8", false)]), budget.clone()).unwrap();
    first.resize(10).unwrap();
    let refused = second.resize(2).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "limit `output_bytes`: 112 bytes asked, 100 bytes allowed; raise it for one run with --limit output_bytes=N"
    );
    assert_eq!((second.rows(), budget.used_bytes()), (0, 80));
    second.resize(1).unwrap();
    let ends = offsets(&[0, 5]);
    let data = RawColumn { rows: 1, validity: None, offsets: Some(&ends), values: b"12345" };
    assert_eq!(second.write(0, 0, &data).unwrap_err().code(), ErrorCode::QuotaExceeded);
    first.resize(2).unwrap();
    second.write(0, 0, &data).unwrap();
    assert_eq!(budget.used_bytes(), 16 + 16 + 5);
    assert!(first.resize(u64::MAX).is_err());
    assert_eq!(first.rows(), 2);
}

#[test]
fn rows_that_no_machine_holds_are_an_error_and_not_the_end_of_the_process() {
    let budget = OutputBudget::new(u64::MAX);
    for columns in [[("n", "int64", false)], [("t", "utf8", true)], [("v", "tensor(float64,[1000])", false)]] {
        let mut out = OutputTable::new("out", schema(&columns), budget.clone()).unwrap();
        out.resize(3).unwrap();
        let used_bytes = budget.used_bytes();
        let refused = out.resize(1 << 47).unwrap_err().to_string();
        assert!(refused.starts_with("limit `memory of the machine`: "), "{refused}");
        assert!(refused.ends_with("; it has no more to give; make fewer rows at a time"), "{refused}");
        assert_eq!(out.resize(u64::MAX / 4).unwrap_err().code(), ErrorCode::QuotaExceeded);
        assert_eq!((out.rows(), budget.used_bytes()), (3, used_bytes));
    }
}

#[test]
fn reserving_and_copying_many_rows_ends_with_the_run() {
    let kill = KillSwitch::new();
    let budget = OutputBudget::new(1 << 30);
    let mut out = OutputTable::new("out", schema(&[("n", "int64", false)]), budget.clone()).unwrap();
    out.resize(1).unwrap();
    let mut out = out.with_kill(kill.clone());
    kill.kill("bob".to_owned());
    assert_eq!(out.resize(1 << 26).unwrap_err().to_string(), "the run was killed by bob");
    assert_eq!((out.rows(), budget.used_bytes()), (1, 8));
}

#[test]
fn a_row_that_is_not_pushed_costs_nothing() {
    let budget = OutputBudget::new(1000);
    let mut out =
        OutputTable::new("out", schema(&[("t", "utf8", false), ("n", "int64", false)]), budget.clone()).unwrap();
    let text = "x".repeat(300);
    for _ in 0..5 {
        assert!(out.push(&[(0, Cell::Text(&text)), (1, Cell::Text("abc"))]).is_err());
        assert_eq!((out.rows(), budget.used_bytes()), (0, 0));
    }
    out.push(&[(0, Cell::Text(&text)), (1, Cell::Text("7"))]).unwrap();
    assert_eq!(budget.used_bytes(), 300 + 16 + 8);
    let batch = out.into_batches().unwrap().remove(0);
    assert_eq!(
        (batch.column(0).as_string::<i32>().value(0), batch.column(1).as_primitive::<Int64Type>().value(0)),
        (&text[..], 7)
    );
}

#[test]
fn pushed_rows_read_text_as_the_type_of_their_column() {
    let mut out = output(&[
        ("id", "uuid", false),
        ("loss", "float64", false),
        ("at", "timestamp", true),
        ("day", "date", true),
        ("host", "ipv4", true),
        ("half", "float16", true),
        ("price", "decimal(6,2)", true),
        ("ok", "bool", true),
        ("model", "binary", false),
    ]);
    let id = "0190d4bc-7a00-7000-8000-000000000001";
    out.push(&[
        (0, Cell::Text(id)),
        (1, Cell::Text("0.125")),
        (2, Cell::Bytes(&1_000_000i64.to_le_bytes())),
        (3, Cell::Text("1970-01-11")),
        (4, Cell::Text("10.0.0.1")),
        (5, Cell::Text("1.5")),
        (6, Cell::Text("12.34")),
        (7, Cell::Text("true")),
        (8, Cell::Bytes(&[1, 2, 3])),
    ])
    .unwrap();
    let wrong = out.push(&[(0, Cell::Text(id)), (1, Cell::Text("much"))]).unwrap_err();
    assert_eq!(wrong.to_string(), "column `loss` is float64, it cannot hold `much`");
    assert_eq!(out.rows(), 1);
    out.push(&[(0, Cell::Text(id)), (1, Cell::Default)]).unwrap();

    let batch = out.into_batches().unwrap().remove(0);
    assert_eq!(batch.column(0).as_fixed_size_binary().value(0)[..2], [0x01, 0x90]);
    assert_eq!(batch.column(1).as_primitive::<arrow::datatypes::Float64Type>().values(), &[0.125, 0.0]);
    assert_eq!(batch.column(2).as_primitive::<TimestampMicrosecondType>().value(0), 1_000_000);
    assert_eq!(batch.column(3).as_primitive::<arrow::datatypes::Date32Type>().value(0), 10);
    assert_eq!(batch.column(4).as_primitive::<UInt32Type>().value(0), 0x0a00_0001);
    assert_eq!(batch.column(5).as_primitive::<arrow::datatypes::Float16Type>().value(0), half::f16::from_f32(1.5));
    assert_eq!(batch.column(6).as_primitive::<Decimal128Type>().value(0), 1234);
    assert!(batch.column(7).as_boolean().value(0) && batch.column(7).is_null(1));
    assert_eq!(batch.column(8).as_binary::<i64>().value(0), [1, 2, 3]);
}

#[test]
fn a_list_that_must_not_be_null_cannot_be_an_output() {
    let columns = schema(&[("tags", "list(utf8)", false)]);
    let error = OutputTable::new("out", columns, OutputBudget::new(10)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `tags` is list(utf8): procs can leave lists null but not write them, and it is not nullable"
    );
    assert_eq!("list(utf8)".parse::<ColumnType>().unwrap().to_string(), "list(utf8)");
}

#[test]
fn times_that_tensors_write_are_times_of_a_day_or_the_output_is_refused() {
    for (us, is_time) in [(0, true), (86_399_999_999, true), (-1, false), (86_400_000_000, false)] {
        let mut out = output(&[("at", "time", false)]);
        out.resize(2).unwrap();
        out.tensor_target(0, 1, DType::I64, &[1]).unwrap().copy_from_slice(&i64::to_le_bytes(us));
        let batches = out.into_batches();
        match is_time {
            true => assert_eq!(batches.unwrap()[0].num_rows(), 2),
            false => {
                let told = format!("column `at`: a time is 0 to 86399999999 microseconds, not {us}");
                assert_eq!(batches.unwrap_err().to_string(), told);
            }
        }
    }
}
