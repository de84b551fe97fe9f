//! Frames on the folder's socket: bounded, and whole or not at all.

use std::io::Cursor;

use quern::server::{MAX_BODY_BYTES, MAX_HEADER_BYTES, read_frame, write_frame};

fn frame(header_bytes: u32, body_bytes: u32, rest: &[u8]) -> Cursor<Vec<u8>> {
    let mut bytes = header_bytes.to_le_bytes().to_vec();
    bytes.extend_from_slice(&body_bytes.to_le_bytes());
    bytes.extend_from_slice(rest);
    Cursor::new(bytes)
}

fn read(mut from: Cursor<Vec<u8>>) -> quern::base::Result<Option<(serde_json::Value, Vec<u8>)>> {
    read_frame(&mut from)
}

#[test]
fn frames_are_read_as_they_were_written() {
    let mut wire = Vec::new();
    write_frame(&mut wire, &serde_json::json!({"sql": "select 1"}), b"").unwrap();
    write_frame(&mut wire, &serde_json::json!("rows"), &[7; 100_000]).unwrap();
    let mut from = Cursor::new(wire);
    let (header, body) = read_frame::<serde_json::Value>(&mut from).unwrap().unwrap();
    assert_eq!((header["sql"].as_str(), body.len()), (Some("select 1"), 0));
    let (header, body) = read_frame::<serde_json::Value>(&mut from).unwrap().unwrap();
    assert_eq!((header.as_str(), body), (Some("rows"), vec![7; 100_000]));
    assert!(read_frame::<serde_json::Value>(&mut from).unwrap().is_none(), "closed between two frames");
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
    let error = read(frame(u32::MAX, 0, b"")).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "a message's header of {} bytes is longer than the {MAX_HEADER_BYTES} bytes that the folder's socket carries",
            u32::MAX
        )
    );
    let error = read(frame(2, u32::MAX, b"{}")).unwrap_err().to_string();
    assert!(
        error.contains(&format!("body of {} bytes is longer than the {MAX_BODY_BYTES} bytes", u32::MAX)),
        "{error}"
    );
}

#[test]
fn a_frame_cut_short_is_an_error() {
    for (cut, what) in
        [(frame(2, 0, b"{"), "header"), (frame(2, 9, b"{}1234"), "body"), (Cursor::new(vec![1, 0]), "lengths")]
    {
        let error = read(cut).unwrap_err();
        assert_eq!(error.to_string(), "the connection to the folder's holder broke", "{what}");
    }
}

#[test]
fn a_header_that_is_not_json_is_an_error() {
    let error = read(frame(3, 0, b"\xff{]")).unwrap_err().to_string();
    assert!(error.starts_with("a message on the folder's socket cannot be understood: "), "{error}");
}
