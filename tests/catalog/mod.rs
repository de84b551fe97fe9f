//! Components and procs by name, and what a component may declare.

use std::sync::Arc;

use quern::base::{Limits, Result};
use quern::catalog::spec::{ColumnClass, ExecutionMode, ParamType};
use quern::catalog::{Activation, Catalog, Change, Declarations, NewComponent, ProcChange, ProcSpec, at_version};
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
        let second = catalog.create(&new("mnist", &declared(&["train", "infer"]), "a2")).unwrap();
        assert_eq!(shown(&second), (2, "a2".into(), true));
        let again = catalog.add(&new("mnist", &[], "a2"), Activation::Now).unwrap();
        assert_eq!((again.component, again.change), (second, Change::Unchanged));
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
fn an_older_version_is_activated_again_and_any_version_is_found_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    catalog.create(&new("mnist", &declared(&["train"]), "a1")).unwrap();
    catalog.create(&new("mnist", &declared(&["train", "infer"]), "a2")).unwrap();
    let resolved = |name: &str| catalog.resolve(name).map(|found| found.component.sha256);
    assert_eq!(resolved("mnist.train").unwrap(), "a2");
    for old in ["mnist@1.train", "train@1"] {
        assert_eq!(resolved(old).unwrap(), "a1");
    }
    assert_eq!(catalog.activate("mnist", 1).unwrap().sha256, "a1");
    assert_eq!(resolved("mnist.train").unwrap(), "a1");
    assert_eq!(resolved("infer@2").unwrap(), "a2", "a proc that only an inactive version has");
    assert_eq!(message(resolved("infer")), "no proc `infer`");
    assert_eq!(message(resolved("mnist@3.train")), "component `mnist` has no version 3; it has 1, 2");
    assert_eq!(message(resolved("mnist@1.infer")), "no proc `infer` in version 1 of component `mnist`");
    assert_eq!(
        message(resolved("train@9")),
        "no component has a version 9 with a proc `train`; `quern proc list --versions` lists the versions"
    );
    assert_eq!(
        message(resolved("mnist@new.train")),
        "`mnist@new.train` names no version: behind `@` stands its number, as in `mnist@2.train`"
    );
    assert_eq!(message(catalog.activate("mnist", 7)), "component `mnist` has no version 7; it has 1, 2");
    assert_eq!(message(catalog.activate("mnits", 1)), "no component `mnits`; did you mean `mnist`?");
    assert_eq!(at_version("train", 2).unwrap(), "train@2");
    assert_eq!(at_version("mnist.train", 2).unwrap(), "mnist@2.train");
    assert_eq!(message(at_version("mnist@1.train", 2)), "`mnist@1.train` names another version than 2");
}

#[test]
fn bytes_are_stored_once_and_a_version_may_wait_for_its_activation() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    let procs = declared(&["train"]);
    let add = |sha256: &str, activation| {
        let created = catalog.add(&new("mnist", &procs, sha256), activation).unwrap();
        (created.component.version, created.component.active, created.change)
    };
    assert_eq!(add("a1", Activation::Later), (1, false, Change::Created));
    assert_eq!(
        message(catalog.resolve("mnist.train")),
        "no version of component `mnist` is active; it has 1: activate one of them"
    );
    assert_eq!(add("a1", Activation::Now), (1, true, Change::Activated));
    assert_eq!(add("a2", Activation::Later), (2, false, Change::Created));
    assert_eq!(catalog.component("mnist").unwrap().version, 1);
    assert_eq!(add("a1", Activation::Now), (1, true, Change::Unchanged));
    assert_eq!(add("a2", Activation::Later), (2, false, Change::Unchanged));
    assert_eq!(catalog.versions().unwrap().len(), 2);
}

#[test]
fn deleted_versions_leave_nothing_but_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    let procs = declared(&["train"]);
    let old = catalog.create(&new("mnist", &procs, "a1")).unwrap();
    catalog.create(&new("mnist", &procs, "a2")).unwrap();
    assert_eq!(
        message(catalog.drop_version("mnist", 2)),
        "version 2 of component `mnist` is active; activate another version first, or delete the whole component"
    );
    catalog.drop_version("mnist", 1).unwrap();
    assert_eq!(catalog.bytes(&old).unwrap(), b"a1", "runs that use it go on");
    catalog.remove_leftovers().unwrap();
    assert!(catalog.bytes(&old).is_err());
    assert_eq!(message(catalog.drop_version("mnist", 1)), "component `mnist` has no version 1; it has 2");
    assert_eq!(catalog.create(&new("mnist", &procs, "a1")).unwrap().version, 3);
    assert_eq!(catalog.bytes(&catalog.component("mnist").unwrap()).unwrap(), b"a1");
}

#[test]
fn a_bound_on_concurrent_instances_belongs_to_the_proc_whatever_version_answers() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    {
        let catalog = open();
        catalog.create(&new("mnist", &declared(&["train", "infer"]), "a1")).unwrap();
        assert_eq!(catalog.max_concurrency("mnist", "train").unwrap(), None);
        catalog.set_max_concurrency("mnist", "train", Some(2)).unwrap();
        catalog.create(&new("mnist", &declared(&["train"]), "a2")).unwrap();
        assert_eq!(
            message(catalog.set_max_concurrency("mnist", "train", Some(0))),
            "max_concurrency of proc `mnist.train` must be 1 or more; `none` lifts the bound"
        );
        assert_eq!(
            message(catalog.set_max_concurrency("mnist", "trian", None)),
            "no proc `trian` in component `mnist`; did you mean `train`?"
        );
        assert_eq!(message(catalog.set_max_concurrency("prices", "fit", None)), "no component `prices`");
    }
    let catalog = open();
    assert_eq!(catalog.max_concurrency("mnist", "train").unwrap(), Some(2));
    catalog.set_max_concurrency("mnist", "train", None).unwrap();
    assert_eq!(catalog.max_concurrency("mnist", "train").unwrap(), None);
    catalog.set_max_concurrency("mnist", "infer", Some(1)).unwrap();
    catalog.drop_component("mnist").unwrap();
    catalog.create(&new("mnist", &declared(&["infer"]), "a1")).unwrap();
    assert_eq!(catalog.max_concurrency("mnist", "infer").unwrap(), None, "it went with the component");
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
    assert_eq!((procs[0].mode, procs[0].params[0].param_type), (ExecutionMode::Distributed, ParamType::Float));
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
        "parameter type `date` is not one of int, float, bool, string, binary"
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
    assert_eq!(
        message(d.proc("z", "distributed", "up\u{1b}[2A")),
        "the description \"up\\u{1b}[2A\" has control characters; take them out"
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

#[test]
fn declarations_are_bounded_together() {
    let mut d = Declarations::new(&Limits { declared_bytes: 10_000, ..Limits::default() });
    d.proc("p", "nondistributed", &"d".repeat(4000)).unwrap();
    d.input("p", "x", &"d".repeat(4000)).unwrap();
    assert_eq!(
        message(d.input("p", "y", &"d".repeat(4000))),
        "limit `declared_bytes`: 12099 bytes asked, 10000 bytes allowed; \
         raise it with --limit declared_bytes=N of `quern proc create`"
    );
}

#[test]
fn settings_that_are_changed_at_the_same_time_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    catalog.create(&new("mnist", &declared(&["train"]), "a1")).unwrap();
    let limits = ["handles", "programs", "log_lines", "results", "metric_points", "checkpoints"];
    for value in 1..=5 {
        std::thread::scope(|scope| {
            for limit in limits {
                let catalog = &catalog;
                let change = [ProcChange::Limit(limit.to_owned(), Some(value))];
                scope.spawn(move || catalog.alter_proc("mnist", "train", &change).unwrap());
            }
        });
        let set = catalog.setting("mnist", "train").unwrap().limits;
        let kept = set.entries().filter(|(_, set)| *set == value).count();
        assert_eq!(kept, limits.len(), "{set:?}");
    }
}

#[test]
fn a_component_and_what_is_set_for_its_procs_come_together() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(Storage::open(folder.path(), Arc::new(Disk)).unwrap());
    let procs = declared(&["train"]);
    let set = |bound| [("train".to_owned(), ProcChange::MaxConcurrency(bound))];
    let refused = catalog.add_with(&new("mnist", &procs, "a1"), Activation::Now, &set(Some(0)));
    assert_eq!(message(refused), "max_concurrency of proc `mnist.train` must be 1 or more; `none` lifts the bound");
    assert_eq!(catalog.list().unwrap(), [], "nothing of it is there");
    catalog.add_with(&new("mnist", &procs, "a1"), Activation::Now, &set(Some(3))).unwrap();
    assert_eq!(catalog.max_concurrency("mnist", "train").unwrap(), Some(3));
}
