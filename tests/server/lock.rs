//! The lock and the socket of a folder.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use quern::server::{FolderLock, LOCK_FILE, SOCKET_FILE, connect, holder_pid, listen};

#[test]
fn one_holder_at_a_time_and_its_pid_is_known() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(holder_pid(folder.path()), 0, "never held");
    let lock = FolderLock::try_acquire(folder.path()).unwrap().expect("free");
    assert_eq!(holder_pid(folder.path()), std::process::id());
    assert!(FolderLock::try_acquire(folder.path()).unwrap().is_none(), "held");
    drop(lock);
    assert!(FolderLock::try_acquire(folder.path()).unwrap().is_some(), "free again");
}

#[test]
fn a_lock_file_left_behind_does_not_hold_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(LOCK_FILE), "999999999 and more text than a pid has digits").unwrap();
    assert!(FolderLock::try_acquire(folder.path()).unwrap().is_some());
    assert_eq!(holder_pid(folder.path()), std::process::id());
}

#[test]
fn the_socket_is_for_its_owner_only_and_replaces_a_stale_one() {
    let folder = tempfile::tempdir().unwrap();
    for left_behind in ["nothing", "a dead socket", "a file"] {
        if left_behind == "a file" {
            std::fs::remove_file(folder.path().join(SOCKET_FILE)).unwrap();
            std::fs::write(folder.path().join(SOCKET_FILE), "not a socket").unwrap();
        }
        speak_over(folder.path());
        let mode = std::fs::metadata(folder.path().join(SOCKET_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "after {left_behind}");
    }
}

#[test]
fn a_path_longer_than_a_socket_address_works() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&folder).unwrap();
    speak_over(&folder);
}

/// Listens on the socket of `folder`, connects to it and passes four bytes.
fn speak_over(folder: &std::path::Path) {
    let listener = listen(folder).unwrap();
    let mut client = connect(folder).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"mill").unwrap();
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"mill");
}
