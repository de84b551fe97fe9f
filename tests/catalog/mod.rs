//! Components and procs by name, and what a component may declare.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use quern::base::Result;
use quern::catalog::spec::{ColumnClass, Mode, ParamType};
use quern::catalog::{Catalog, Declarations, NewComponent, ProcSpec};
use quern::storage::{ComponentRecord, Disk, Storage};

fn declared(names: &[&str]) -> Vec<ProcSpec> {
    let mut declarations = Declarations::default();
    for name in names {
        declarations.proc(name, "nondistributed", "").unwrap();
    }
    declarations.finish().unwrap()
}

fn new<'a>(name: &'a str, procs: &'a [ProcSpec], sha256: &'a str) -> NewComponent<'a> {
    NewComponent { name, procs, sha256, bytes: sha256.as_bytes() }
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn procs_are_found_by_their_name_or_with_their_component() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    catalog.create(&new("mnist", &declared(&["train", "infer"]), "a1")).unwrap();
    catalog.create(&new("prices", &declared(&["train"]), "b1")).unwrap();
    let found = catalog.resolve("infer").unwrap();
    assert_eq!((found.component.name.as_str(), found.proc.name.as_str()), ("mnist", "infer"));
    assert_eq!(catalog.resolve("prices.train").unwrap().component.sha256, "b1");
    assert_eq!(
        message(catalog.resolve("train")),
        "several components offer a proc `train`; write `mnist.train` or `prices.train`"
    );
    assert_eq!(message(catalog.resolve("infr")), "no proc `infr`; did you mean `infer`?");
    assert_eq!(message(catalog.resolve("mnist.infr")), "no proc `infr` in component `mnist`; did you mean `infer`?");
    assert_eq!(message(catalog.resolve("mnit.infer")), "no component `mnit`; did you mean `mnist`?");
    assert_eq!(message(catalog.resolve("mnist")), "no proc `mnist`; component `mnist` offers `train`, `infer`");
    let names: Vec<String> =
        catalog.procs().unwrap().iter().map(|r| format!("{}.{}", r.component.name, r.proc.name)).collect();
    assert_eq!(names, ["mnist.train", "mnist.infer", "prices.train"]);
}

#[test]
fn versions_are_immutable_and_the_newest_answers_to_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    let shown = |record: &ComponentRecord| (record.version, record.sha256.clone(), record.active);
    {
        let catalog = open();
        let first = catalog.create(&new("mnist", &declared(&["train"]), "a1")).unwrap();
        assert_eq!(shown(&first), (1, "a1".into(), true));
        assert_eq!(message(catalog.create(&new("mnist", &[], "a2"))), "component `mnist` exists already");
        let second = catalog.replace(&new("mnist", &declared(&["train", "infer"]), "a2")).unwrap();
        assert_eq!(shown(&second), (2, "a2".into(), true));
        assert_eq!(catalog.replace(&new("mnist", &[], "a2")).unwrap(), second);
        assert_eq!(catalog.bytes(&first).unwrap(), b"a1");
    }
    let catalog = open();
    assert_eq!(catalog.list().unwrap().iter().map(shown).collect::<Vec<_>>(), [(2, "a2".into(), true)]);
    assert_eq!(Catalog::declared(&catalog.component("mnist").unwrap()).unwrap(), declared(&["train", "infer"]));
    catalog.drop_component("mnist").unwrap();
    assert_eq!(message(catalog.component("mnist")), "no component `mnist`");
    assert_eq!(message(catalog.drop_component("mnist")), "no component `mnist`");
    assert_eq!(catalog.create(&new("mnist", &declared(&["train"]), "a1")).unwrap().version, 3);
}

#[test]
fn component_names_that_could_not_be_typed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    for name in ["", "a.b", "a b", "x\u{1b}[2J", "'; drop table t", &"n".repeat(129)] {
        let error = message(catalog.create(&new(name, &declared(&["p"]), "a1")));
        assert!(error.starts_with("component name \""), "{error}");
        assert!(error.ends_with(" cannot be used: names have 1 to 128 letters, digits, `_` and `-`"), "{error}");
    }
    assert_eq!(catalog.list().unwrap(), []);
}

#[test]
fn declarations_survive_being_stored() {
    let mut declarations = Declarations::default();
    declarations.proc("infer", "distributed", "tells digits").unwrap();
    declarations.input("infer", "images", "28 × 28").unwrap();
    declarations.input_column("infer", "images", "data", "tensor(uint8,[28,28])").unwrap();
    declarations.input_column("infer", "images", "id", "numeric").unwrap();
    declarations.output("infer", "out", "").unwrap();
    declarations.output_column("infer", "out", ("predict", "int32", true)).unwrap();
    declarations.output_models("infer", "out").unwrap();
    declarations.param("infer", "rate", "float", Some("0.5"), "").unwrap();
    declarations.reducer("infer", "rows", "sum").unwrap();
    let procs = declarations.finish().unwrap();
    let text = serde_json::to_string(&procs).unwrap();
    assert!(text.contains("\"mode\":\"distributed\""));
    assert!(text.contains("{\"name\":\"data\",\"type\":\"tensor(uint8,[28,28])\"}"));
    assert_eq!(serde_json::from_str::<Vec<ProcSpec>>(&text).unwrap(), procs);
    assert_eq!((procs[0].mode, procs[0].params[0].param_type), (Mode::Distributed, ParamType::Float));
    assert_eq!(procs[0].inputs[0].columns[1].class, ColumnClass::Numeric);
}

#[test]
fn declarations_that_make_no_sense_are_refused() {
    let mut d = Declarations::default();
    assert_eq!(message(d.proc("p", "parallel", "")), "mode `parallel` is not one of distributed, nondistributed");
    d.proc("p", "nondistributed", "").unwrap();
    assert_eq!(message(d.proc("P", "distributed", "")), "proc `P` exists already");
    assert_eq!(message(d.input("q", "x", "")), "no proc `q`; did you mean `p`?");
    d.input("p", "x", "").unwrap();
    assert_eq!(message(d.input_column("p", "y", "a", "any")), "no input `y` in proc `p`; did you mean `x`?");
    assert_eq!(message(d.input_column("p", "x", "a", "int65")), "no column type `int65`; did you mean `int64`?");
    let nested = format!("{}int8{}", "list(".repeat(1000), ")".repeat(1000));
    assert_eq!(
        message(d.input_column("p", "x", "a", &nested)),
        "column `a`: its type is spelled with 6004 bytes, 256 are allowed"
    );
    assert_eq!(
        message(d.param("p", "n", "int", Some("1.5"), "")),
        "parameter `n` takes a whole number, for example 10, not `1.5`"
    );
    assert_eq!(
        message(d.param("p", "n", "date", None, "")),
        "parameter type `date` is not one of int, float, bool, string"
    );
    assert_eq!(
        message(d.reducer("p", "r", "median")),
        "reducer `median` is not one of sum, min, max, mean, concat, first"
    );
    d.output("p", "m", "").unwrap();
    d.output_models("p", "m").unwrap();
    assert_eq!(message(d.output_column("p", "m", ("Model", "binary", false))), "column `Model` exists already");
    let shown = "x".repeat(64);
    assert_eq!(
        message(d.input("p", &"x".repeat(200), "")),
        format!("input name \"{shown}\" cannot be used: names have 1 to 128 letters, digits, `_` and `-`")
    );
    assert_eq!(
        message(d.proc("z", "distributed", &"d".repeat(5000))),
        "a description has 5000 bytes, 4096 are allowed"
    );
    d.output("p", "late", "").unwrap();
    assert_eq!(
        message(d.finish()),
        "output `late` of proc `p` declares no columns and has no input at its place to take them from"
    );
    assert_eq!(message(Declarations::default().finish()), "it declares no proc; call `declare.proc` in `describe`");
    let mut d = Declarations::default();
    d.proc("p", "distributed", "").unwrap();
    assert_eq!(
        message(d.finish()),
        "distributed proc `p` declares no input; it has one instance per shard of its first input"
    );
}
