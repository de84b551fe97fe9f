//! Answers as table, CSV, JSON and Arrow.

use quern::sql::Answer;
use quern::sql::format::{Output, write_rows};

use super::fixture::Folder;

fn written(f: &Folder, text: &str, output: Output) -> String {
    String::from_utf8(bytes(f, text, output)).unwrap()
}

fn bytes(f: &Folder, text: &str, output: Output) -> Vec<u8> {
    let Answer::Rows(rows) = f.answer(text) else { panic!("no rows") };
    let mut out = Vec::new();
    write_rows(rows, output, &mut out).unwrap();
    out
}

fn sample() -> Folder {
    let f = Folder::new();
    f.run(
        "CREATE TABLE t (id int, name text, image tensor(uint8,[5,5]), label tensor(uint8,[2]), model binary, u uuid, \
         j json, at timestamp)",
    );
    f.run(
        "INSERT INTO t SELECT 1, 'a \"b\", c', \
         [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25], [0, 1], \
         X'000102030405060708090a0b0c0d0e0f10', '67e55044-10b1-426f-9247-bb680e5fe0c8', '{\"k\": [1]}', \
         '2026-11-22 10:00:00'",
    );
    f.run("INSERT INTO t (id, name, model) VALUES (20, '', '\\x00ff')");
    f
}

#[test]
fn lines_show_each_column_on_a_line_of_its_own() {
    let f = sample();
    assert_eq!(
        written(&f, "SELECT id, name, model FROM t ORDER BY id", Output::Lines),
        "── row 1 ──\nid     1\nname   a \"b\", c\nmodel  17 bytes\n── row 2 ──\nid     20\nname   \nmodel  \\x00ff\n\
         2 rows\n"
    );
}

#[test]
fn whole_numbers_of_any_float_have_a_point() {
    let f = Folder::new();
    f.run("CREATE TABLE t (h float16, x float32, d float64)");
    f.run("INSERT INTO t VALUES (1, 1, 1), (-0.25, -0.25, -0.25)");
    assert_eq!(written(&f, "SELECT * FROM t ORDER BY d DESC", Output::Csv), "h,x,d\n1.0,1.0,1.0\n-0.25,-0.25,-0.25\n");
}

#[test]
fn a_table_aligns_columns_and_shortens_large_values() {
    let f = sample();
    assert_eq!(
        written(&f, "SELECT id, name, image, label, model FROM t ORDER BY id", Output::Table),
        [
            "id  name      image                label  model",
            "──────────────────────────────────────────────────",
            " 1  a \"b\", c  tensor(uint8,[5,5])  [0,1]  17 bytes",
            "20            NULL                 NULL   \\x00ff",
            "2 rows",
            "",
        ]
        .join("\n")
    );
    assert_eq!(written(&f, "SELECT id FROM t WHERE id = 0", Output::Table), "id\n──\n0 rows\n");
    assert_eq!(written(&f, "SELECT 'two\nlines' AS x", Output::Table), "x\n──────────\ntwo\\nlines\n1 row\n");
}

#[test]
fn wide_characters_take_two_places_of_a_table() {
    let f = sample();
    assert_eq!(
        written(&f, "SELECT '漢字' AS a, 1 AS b UNION ALL SELECT 'abcdef', 2 ORDER BY b", Output::Table),
        "a       b\n─────────\n漢字    1\nabcdef  2\n2 rows\n"
    );
}

#[test]
fn a_plan_is_written_line_by_line() {
    let f = sample();
    let plan = written(&f, "EXPLAIN SELECT id FROM t WHERE id = 1", Output::Table);
    let lines: Vec<&str> = plan.lines().collect();
    assert_eq!(lines[..3], ["logical_plan", "  Filter: t.id = Int32(1)", "    TableScan: t projection=[id]"]);
    assert!(lines.contains(&"physical_plan") && !plan.contains('…'), "{plan}");
}

#[test]
fn columns_of_one_name_get_keys_of_their_own_in_json() {
    let f = sample();
    assert_eq!(
        written(&f, "SELECT * FROM (SELECT 1 AS k) a JOIN (SELECT 1 AS k) b ON a.k = b.k", Output::JsonLines),
        "{\"k\":1,\"k_2\":1}\n"
    );
}

#[test]
fn csv_tells_a_missing_value_from_an_empty_text() {
    let f = sample();
    assert_eq!(
        written(&f, "SELECT id, name, label, model, u FROM t ORDER BY id", Output::Csv),
        "id,name,label,model,u\n\
         1,\"a \"\"b\"\", c\",\"[0,1]\",\\x000102030405060708090a0b0c0d0e0f10,67e55044-10b1-426f-9247-bb680e5fe0c8\n\
         20,\"\",,\\x00ff,\n"
    );
}

#[test]
fn json_has_numbers_lists_and_json_in_place() {
    let f = sample();
    assert_eq!(
        written(
            &f,
            "SELECT id, name, label, j, at, 0.5 AS half, 'NaN'::double AS nan, '-inf'::double AS low FROM t ORDER BY id",
            Output::JsonLines
        ),
        "{\"id\":1,\"name\":\"a \\\"b\\\", c\",\"label\":[0,1],\
         \"j\":{\"k\": [1]},\"at\":\"2026-11-22 10:00:00\",\"half\":0.5,\"nan\":\"NaN\",\"low\":\"-Infinity\"}\n\
         {\"id\":20,\"name\":\"\",\"label\":null,\"j\":null,\"at\":null,\"half\":0.5,\"nan\":\"NaN\",\"low\":\"-Infinity\"}\n"
    );
    let all: serde_json::Value =
        serde_json::from_str(&written(&f, "SELECT image FROM t ORDER BY id", Output::Json)).unwrap();
    assert_eq!(all[0]["image"][4], serde_json::json!([21, 22, 23, 24, 25]));
    assert_eq!(written(&f, "SELECT id FROM t WHERE id = 0", Output::Json), "[]\n");
    assert_eq!(written(&f, "SELECT id FROM t ORDER BY id", Output::Json), "[\n{\"id\":1},\n{\"id\":20}\n]\n");
}

#[test]
fn an_arrow_stream_keeps_exact_types() {
    let f = sample();
    let stream = bytes(&f, "SELECT id, image, j FROM t ORDER BY id", Output::Arrow);
    let reader = arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let schema = reader.schema();
    assert_eq!(schema.field(1).metadata()["ARROW:extension:name"], "arrow.fixed_shape_tensor");
    assert_eq!(schema.field(1).metadata()["quern:type"], "tensor(uint8,[5,5])");
    assert_eq!(schema.field(2).metadata()["ARROW:extension:name"], "arrow.json");
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[test]
fn an_arrow_stream_is_read_by_pyarrow() {
    let f = sample();
    let path = f.file("t.arrows");
    std::fs::write(&path, bytes(&f, "SELECT * FROM t ORDER BY id", Output::Arrow)).unwrap();
    let program = "
import pyarrow as pa, sys
table = pa.ipc.open_stream(sys.argv[1]).read_all()
print([str(table.schema.field(name).type) for name in ('image', 'u', 'j', 'at', 'model')])
image = table.column('image').chunk(0)
print(image[0].to_numpy().shape, image[0].to_numpy()[4].tolist(), table.column('u').to_pylist())
";
    let output =
        std::process::Command::new(crate::support::python()).args(["-c", program]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "['extension<arrow.fixed_shape_tensor[value_type=uint8, shape=[5,5]]>', 'string', 'extension<arrow.json>', \
         'timestamp[us]', 'large_binary']\n\
         (5, 5) [21, 22, 23, 24, 25] ['67e55044-10b1-426f-9247-bb680e5fe0c8', None]\n"
    );
}

#[test]
fn formats_are_named() {
    assert_eq!("jsonl".parse::<Output>().unwrap(), Output::JsonLines);
    let error = "jsn".parse::<Output>().unwrap_err().to_string();
    assert_eq!(error, "no output format `jsn`; did you mean `json`?");
}
