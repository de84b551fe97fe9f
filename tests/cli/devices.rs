//! `quern devices` on whatever machine the tests run on.

use super::Terminal;

#[test]
fn devices_are_listed_before_there_is_a_folder() {
    let terminal = Terminal::without_folder();
    let answer = terminal.quern(&["devices"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let mut lines = answer.out.lines();
    let heading: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["device", "state", "model", "cores", "memory", "tables", "programs", "free"]);
    assert!(lines.nth(1).unwrap().starts_with("cpu     present  "), "{answer:?}");
    let has_gpu = answer.out.contains("\ncuda:0 ");
    assert_eq!(answer.err.starts_with("no cuda: the NVIDIA driver "), !has_gpu, "{answer:?}");
    assert!(!terminal.data().exists());
}

#[test]
fn a_folders_holder_tells_what_it_uses() {
    let terminal = Terminal::new();
    let json = terminal.ok(&["devices", "--json", "--cores", "3"]);
    let devices: serde_json::Value = serde_json::from_str(&json).unwrap();
    let cpu = &devices[0];
    assert_eq!((&cpu["name"], &cpu["kind"], &cpu["state"]), (&"cpu".into(), &"cpu".into(), &"used".into()));
    assert_eq!((&cpu["cores"], &cpu["tables_bytes"], &cpu["reason"]), (&3.into(), &0.into(), &serde_json::Value::Null));
    assert_eq!(cpu["free_bytes"], cpu["memory_bytes"]);
}
