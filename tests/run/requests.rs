//! Everything that is refused before a run is queued, and the words for it.

use quern::base::{ErrorCode, Sharding};
use quern::catalog::Declarations;
use quern::run::{InputRef, RunRequest};
use quern::storage::RunFilter;

use super::fixture::{Folder, declare_square, square};

fn declare_train(declarations: &mut Declarations) {
    declarations.proc("train", "nondistributed", "").unwrap();
    declarations.input("train", "images", "").unwrap();
    declarations.input_column("train", "images", "label", "numeric").unwrap();
    declarations.input_column("train", "images", "data", "tensor(uint8,[28,28])").unwrap();
    declarations.output("train", "trained", "").unwrap();
    declarations.output_models("train", "trained").unwrap();
    declarations.output_column("train", "trained", ("loss", "float64", false)).unwrap();
    declarations.param("train", "epochs", "int", Some("5"), "").unwrap();
    declarations.param("train", "rate", "float", None, "").unwrap();
    declarations.param("train", "shuffle", "bool", Some("true"), "").unwrap();
}

fn create(folder: &Folder, table: &str, columns: &[(&str, &str, bool)], sharding: Sharding, shards: u32) {
    let column = |(name, column_type, nullable): &(&str, &str, bool)| quern::base::Column {
        name: (*name).to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable: *nullable,
    };
    let schema = quern::base::Schema::new(columns.iter().map(column).collect()).unwrap();
    let mut write = folder.storage.begin();
    write.create_table(table, &schema, sharding, shards).unwrap();
    write.commit().unwrap();
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.proc("maths", declare_square, square);
    folder.proc("digits", declare_train, |_| panic!("nothing may execute"));
    let data = ("data", "tensor(uint8,[28,28])", false);
    create(&folder, "digits", &[("label", "int32", false), data], Sharding::Random, 4);
    create(&folder, "texts", &[("label", "utf8", false), data], Sharding::Random, 4);
    create(&folder, "keyed", &[("y", "int64", false), ("shard", "int32", false)], Sharding::Key(vec!["y".into()]), 3);
    create(&folder, "narrow", &[("y", "int32", false), ("shard", "int32", false)], Sharding::Random, 3);
    create(
        &folder,
        "strict",
        &[("y", "int64", false), ("shard", "int32", false), ("z", "int64", false)],
        Sharding::Random,
        3,
    );
    create(
        &folder,
        "no_models",
        &[
            ("model", "binary", false),
            ("name", "utf8", false),
            ("id", "int64", false),
            ("loss", "float64", false),
            ("date_time_created", "timestamp", false),
        ],
        Sharding::Replicated,
        1,
    );
    folder.table("numbers", Sharding::Random, &[&[1], &[2]]);
    folder
}

fn train() -> RunRequest {
    RunRequest::new("train").input("digits").output("models").param("rate", "0.1")
}

fn square_of(table: &str, output: &str) -> RunRequest {
    RunRequest::new("square").input(table).output(output)
}

#[test]
fn what_does_not_fit_the_declarations_is_refused_by_name() {
    let folder = folder();
    let columns = |names: &[&str]| InputRef {
        columns: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..InputRef::table("digits")
    };
    let cases: Vec<(RunRequest, &str)> = vec![
        (RunRequest::new("trian"), "no proc `trian`; did you mean `train`?"),
        (RunRequest::new("digits"), "no proc `digits`; did you mean `digits.train`?"),
        (RunRequest::new("digits.test"), "no proc `test` in component `digits`"),
        (RunRequest::new("digit.train"), "no component `digit`; did you mean `digits`?"),
        (RunRequest::new("train").param("rate", "1"), "proc `train` reads 1 table (images), 0 were given"),
        (train().input("digits"), "proc `train` reads 1 table (images), 2 were given"),
        (train().output("more"), "proc `train` appends to 1 table (trained), 2 were given"),
        (
            RunRequest { inputs: vec![columns(&["labl", "data"])], ..train() },
            "no column `labl` in table `digits`; did you mean `label`?",
        ),
        (RunRequest { inputs: vec![columns(&["data"])], ..train() }, "no column `label` in table `digits`"),
        (RunRequest { inputs: vec![InputRef::table("digit")], ..train() }, "no table `digit`; did you mean `digits`?"),
        (
            RunRequest { inputs: vec![InputRef::table("texts")], ..train() },
            "column `label` of table `texts` is utf8; input `images` of proc `train` takes numeric",
        ),
        (square_of("digits", "out"), "no column `n` in table `digits`"),
        (train().param("epoch", "1"), "no parameter `epoch` in proc `train`; did you mean `epochs`?"),
        (train().param("epochs", "many"), "parameter `epochs` takes a whole number, for example 10, not `many`"),
        (train().param("shuffle", "yes"), "parameter `shuffle` takes true or false, not `yes`"),
        (train().param("rate", "0.2"), "parameter `rate` is given twice"),
        (RunRequest { params: vec![], ..train() }, "proc `train` needs parameter `rate` (float), which has no default"),
        (
            square_of("numbers", "narrow"),
            "column `y` of table `narrow` is int32; output `squares` of proc `square` writes int64",
        ),
        (square_of("numbers", "digits"), "no column `y` in table `digits`"),
        (
            square_of("numbers", "strict"),
            "column `z` of table `strict` must not be null and proc `square` \
             does not write it; name another table or leave the column nullable",
        ),
        (
            square_of("numbers", "keyed"),
            "output `squares`: table `keyed` is sharded by key into 3 shards, the run has 2 instances; the numbers must be equal",
        ),
        (
            square_of("numbers", "new\ntable"),
            "table name \"new\\ntable\" cannot be used: names have 1 to 128 bytes and no control characters",
        ),
        (
            RunRequest { outputs: vec!["no_models".into()], ..train() },
            "column `id` of table `no_models` is int64; output `trained` of proc `train` writes uuid",
        ),
        (
            RunRequest { tag: Some("\u{1b}[31m".into()), ..train() },
            "tag name \"\\u{1b}[31m\" cannot be used: names have 1 to 128 bytes and no control characters",
        ),
    ];
    for (request, message) in cases {
        assert_eq!(folder.runs.execute(request).unwrap_err().to_string(), message);
    }
    assert_eq!(folder.runs.list(&RunFilter::default()).unwrap(), []);
}

#[test]
fn further_inputs_of_a_distributed_proc_are_divided_alike_or_whole() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("join", "distributed", "").unwrap();
        declarations.input("join", "left", "").unwrap();
        declarations.input("join", "right", "").unwrap();
        declarations.output("join", "rows", "").unwrap();
        declarations.output_column("join", "rows", ("y", "int64", false)).unwrap();
    };
    folder.proc("joins", declare, |instance| {
        let both = [super::fixture::input(instance, 0), super::fixture::input(instance, 1)].concat();
        Ok(super::fixture::made(instance, &both))
    });
    folder.table("two", Sharding::Random, &[&[1], &[2, 3]]);
    folder.table("alike", Sharding::Random, &[&[10], &[20]]);
    folder.table("three", Sharding::Random, &[&[], &[], &[]]);
    folder.table("same", Sharding::Replicated, &[&[7, 8]]);
    let join = |right: &str, out: &str| RunRequest::new("join").input("two").input(right).output(out);
    let error = folder.runs.execute(join("three", "out")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `right`: table `three` has 3 shards, table `two` has 2; \
         inputs of distributed proc `join` must be replicated or have as many shards as the first \
         when they are read; execute it again, then the rows are dealt alike"
    );
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let columns =
        [("n", "int64"), ("model", "binary"), ("name", "utf8"), ("id", "uuid"), ("date_time_created", "timestamp")];
    let columns: Vec<_> = columns.into_iter().map(|(name, column_type)| (name, column_type, true)).collect();
    create(&folder, "models", &columns, Sharding::Random, 3);
    // Models are read whole, however their table is divided.
    let id = folder.runs.execute(join("models", "c")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("c"), [vec![1], vec![2, 3]]);
    let id = folder.runs.execute(join("alike", "a")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("a"), [vec![1, 10], vec![2, 3, 20]]);
    let id = folder.runs.execute(join("same", "b")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("b"), [vec![1, 7, 8], vec![2, 3, 7, 8]]);
}

#[test]
fn two_outputs_cannot_be_the_same_table() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("split", "nondistributed", "").unwrap();
        for output in ["even", "odd"] {
            declarations.output("split", output, "").unwrap();
            declarations.output_column("split", output, ("n", "int64", false)).unwrap();
        }
    };
    folder.proc("splits", declare, |_| panic!("nothing may execute"));
    let error = folder.runs.execute(RunRequest::new("split").output("a").output("a")).unwrap_err();
    assert_eq!(error.to_string(), "table `a` is given for two outputs of proc `split`");
    let error = folder.runs.execute(RunRequest::new("split").output("a").output("A")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tables `a` and `A` are given for two outputs of proc `split`; names that differ only in case are those of one \
         table"
    );
    folder.table("t", Sharding::Random, &[&[1]]);
    let error = folder.runs.execute(RunRequest::new("split").output("a").output("T")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "output `odd`: table `T` cannot be created beside table `t`, from which it differs only in case; append to `t` \
         or give another name"
    );
}
