//! A folder with SQL on it, and procs that are Rust instead of WebAssembly.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use quern::base::{ColumnType, DType, Error, Limits};
use quern::catalog::spec::{InputColumn, InputSpec, OutputColumn, OutputSpec, ParamSpec, ParamType};
use quern::catalog::{Catalog, Declarations, ExecutionMode, NewComponent, ProcSpec, Rights};
use quern::device::Device;
use quern::proc::Receipt;
use quern::run::{Descriptor, InstanceLink, Made, Runs};
use quern::sql::format::{ColumnText, Detail};
use quern::sql::{Answer, Caller, Context, Sql};
use quern::storage::{Disk, Storage};
use quern::table::{Shards, Tables};

use crate::support::backend::RustInstances;

/// A folder with SQL on it.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) storage: Storage,
    pub(super) runs: Runs,
    pub(super) sql: Sql,
}

impl Folder {
    /// An empty folder.
    pub(super) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let storage = Storage::open(&dir.path().join("db"), Arc::new(Disk)).unwrap();
        let catalog = Catalog::new(storage.clone());
        let limits = Limits::default();
        let of_instances = storage.clone();
        let backend = RustInstances::new(move |descriptor, link| execute(&of_instances, descriptor, link));
        let runs = Runs::open(&storage, &catalog, Arc::new(backend), &limits).unwrap();
        let sql = Sql::new(Context {
            storage: storage.clone(),
            catalog,
            runs: runs.clone(),
            tables: Tables::new(storage.clone(), Device::cpu(2, 1 << 30)),
            limits,
            threads: 2,
        })
        .unwrap();
        Self { dir, storage, runs, sql }
    }

    /// The same folder, closed and opened again.
    pub(super) fn reopened(self) -> Self {
        let Self { dir, storage, runs, sql } = self;
        drop((sql, runs));
        storage.close().unwrap();
        drop(storage);
        Self::at(dir)
    }

    /// A path in a folder of its own for files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The message of the last statement.
    pub(super) fn run(&self, text: &str) -> String {
        match self.answer(text) {
            Answer::Done(done) => done.message,
            other => panic!("`{text}` gave {other:?}"),
        }
    }

    /// What statements answer to a user of the folder: the last message, or its
    /// rows with `; ` between them, or the error.
    pub(super) fn answer_to(&self, user: &str, text: &str) -> String {
        let executed = || -> quern::base::Result<String> {
            let rights = Rights::of(&self.storage, Some(user))?;
            let caller = Caller { rights, ..Caller::default() };
            let mut last = String::new();
            for statement in quern::sql::parse(text)? {
                last = match self.sql.execute_one(&statement, &caller)? {
                    Answer::Done(done) => done.message,
                    Answer::Run(awaited) => awaited.wait()?.message,
                    Answer::Rows(rows) => {
                        let schema = rows.schema().clone();
                        lines(&schema, &rows.collect_batches()?).join("; ")
                    }
                };
            }
            Ok(last)
        };
        executed().unwrap_or_else(|e| e.chain())
    }

    /// The rows of the last statement, each as its values with `|` between them.
    pub(super) fn rows(&self, text: &str) -> Vec<String> {
        let (schema, batches) = self.batches(text);
        lines(&schema, &batches)
    }

    /// The only value of a query.
    pub(super) fn value(&self, text: &str) -> String {
        let rows = self.rows(text);
        assert_eq!(rows.len(), 1, "{text}: {rows:?}");
        rows[0].clone()
    }

    /// The rows of the last statement.
    pub(super) fn batches(&self, text: &str) -> (arrow::datatypes::SchemaRef, Vec<RecordBatch>) {
        match self.answer(text) {
            Answer::Rows(rows) => {
                (rows.schema().clone(), rows.collect_batches().unwrap_or_else(|e| panic!("{text}: {}", e.chain())))
            }
            other => panic!("`{text}` gave no rows: {other:?}"),
        }
    }

    /// The answer of the last statement.
    pub(super) fn answer(&self, text: &str) -> Answer {
        match self.sql.execute(text) {
            Ok(mut answers) => answers.pop().unwrap(),
            Err(e) => panic!("`{text}`: {}", e.chain()),
        }
    }

    /// The numbers in the first column of each shard of a table, in order.
    pub(super) fn shards(&self, table: &str) -> Vec<Vec<i64>> {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(table).unwrap();
        let of = |shard| {
            let batches = self.storage.scan(&snapshot, &table, Some(shard), Some(&[0])).unwrap();
            let numbers =
                batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec());
            let mut numbers: Vec<i64> = numbers.collect();
            numbers.sort_unstable();
            numbers
        };
        (0..table.shards).map(of).collect()
    }

    /// The error of a statement, also one that comes with its rows.
    pub(super) fn error(&self, text: &str) -> String {
        match self.sql.execute(text) {
            Err(e) => e.chain(),
            Ok(answers) => {
                for answer in answers {
                    if let Answer::Rows(rows) = answer
                        && let Err(e) = rows.collect_batches()
                    {
                        return e.chain();
                    }
                }
                panic!("`{text}` succeeded")
            }
        }
    }

    /// A component `numbers` whose procs are Rust: `double` gives twice its
    /// column `n`, `broken` fails, `endless` runs until it is killed.
    pub(super) fn with_procs(self) -> Self {
        let number = |name: &str| OutputColumn {
            name: name.to_owned(),
            column_type: ColumnType::Number(DType::I64),
            nullable: false,
        };
        let input = InputSpec {
            name: "numbers".to_owned(),
            doc: String::new(),
            columns: vec![InputColumn { name: "n".to_owned(), class: quern::catalog::spec::ColumnClass::Numeric }],
        };
        let output =
            OutputSpec { name: "doubled".to_owned(), doc: String::new(), columns: vec![number("n2")], models: false };
        let param = ParamSpec {
            name: "factor".to_owned(),
            param_type: ParamType::Int,
            default: Some("2".to_owned()),
            doc: String::new(),
        };
        let proc = |name: &str, mode, inputs: Vec<InputSpec>, outputs: Vec<OutputSpec>, params| ProcSpec {
            name: name.to_owned(),
            mode,
            doc: format!("what {name} does"),
            inputs,
            outputs,
            params,
            reducers: Vec::new(),
        };
        let procs = [
            proc("double", ExecutionMode::Distributed, vec![input], vec![output], vec![param]),
            proc("broken", ExecutionMode::Nondistributed, Vec::new(), Vec::new(), Vec::new()),
            proc("endless", ExecutionMode::Nondistributed, Vec::new(), Vec::new(), Vec::new()),
        ];
        let catalog = Catalog::new(self.storage.clone());
        let new = NewComponent { name: "numbers", procs: &procs, sha256: &"0".repeat(64), bytes: b"not WebAssembly" };
        catalog.create(&new).unwrap();
        self
    }

    /// A component `pairs` whose proc `both` gives the column `n` of two inputs.
    pub(super) fn with_pairs(self) -> Self {
        let mut declared = Declarations::default();
        declared.proc("both", "distributed", "").unwrap();
        for input in ["left", "right"] {
            declared.input("both", input, "").unwrap();
        }
        declared.output("both", "rows", "").unwrap();
        declared.output_column("both", "rows", ("n", "int64", false)).unwrap();
        let procs = declared.finish().unwrap();
        let new = NewComponent { name: "pairs", procs: &procs, sha256: &"1".repeat(64), bytes: b"not it either" };
        Catalog::new(self.storage.clone()).create(&new).unwrap();
        self
    }
}

/// Rows as text, each as its values with `|` between them.
fn lines(schema: &arrow::datatypes::SchemaRef, batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let columns = ColumnText::of_batch(schema, batch, Detail::Full).unwrap();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| {
                let mut cell = String::new();
                if column.push(row, &mut cell).unwrap() { cell } else { "NULL".to_owned() }
            });
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

/// What an instance of the procs here does.
fn execute(storage: &Storage, descriptor: &Descriptor, link: &InstanceLink) -> (Result<Made, Error>, Receipt) {
    link.observer.log(quern::proc::LogLevel::Info, "hello");
    link.observer.metric("loss", 1, 0.5);
    let (made, rows) = match descriptor.proc.as_str() {
        "double" | "both" => {
            let outputs = multiplied(storage, descriptor);
            let rows = outputs.iter().map(|batch| batch.num_rows() as u64).sum();
            (Ok(Made { outputs: vec![outputs], ..Made::default() }), rows)
        }
        "endless" => {
            while link.kill.check().is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            (Err(link.kill.check().unwrap_err()), 0)
        }
        _ => {
            let code = quern::base::ErrorCode::InvalidArgument;
            (Err(Error::Proc { proc: descriptor.proc.clone(), code, message: "it is broken".to_owned() }), 0)
        }
    };
    link.observer.result("rows", &rows.to_string());
    (made, Receipt { rows_out: rows, device: "cpu".to_owned(), ..Receipt::default() })
}

/// The visible columns `n` of all inputs that the instance sees, times `factor`.
fn multiplied(storage: &Storage, descriptor: &Descriptor) -> Vec<RecordBatch> {
    let factor: i64 = descriptor.task.params.texts.first().map_or(1, |(_, factor)| factor.parse().unwrap());
    let mut made = Vec::new();
    for input in &descriptor.inputs {
        let shard = match input.shards {
            Shards::One(shard) if input.table.shards > 1 => Some(shard),
            _ => None,
        };
        let visible = input.columns.iter().map(|place| &input.table.schema.columns()[*place]);
        assert_eq!(visible.map(|column| column.name.as_str()).filter(|name| *name == "n").count(), 1);
        let (position, _) = input.table.schema.column("numbers", "n").unwrap();
        for batch in storage.scan(&descriptor.snapshot, &input.table, shard, None).unwrap() {
            let batch = batch.unwrap();
            let values = batch.column(position).as_primitive::<Int64Type>();
            let multiplied: Int64Array = values.values().iter().map(|n| n * factor).collect::<Vec<_>>().into();
            made.push(
                RecordBatch::try_new(descriptor.outputs[0].schema.to_arrow(), vec![Arc::new(multiplied)]).unwrap(),
            );
        }
    }
    made
}
