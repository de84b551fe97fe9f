//! The messages of [`super::protocol`] as frames. Rows travel as Arrow IPC
//! streams, one per batch, so that every frame can be read on its own.

use std::io::{Read, Write};

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::frame::{read_frame, write_frame};
use super::protocol::{Event, Failure, Hello, Reply, Request};
use super::view::{LogView, RunView};
use crate::base::{Error, Result, RunId};
use crate::run::SweepStatus;
use crate::sql::Done;

/// Header of a frame to the holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToHolder {
    Hello(Hello),
    /// Of the folder's owner.
    Request(Box<Request>),
    /// Of another user.
    RequestAs {
        user: String,
        request: Box<Request>,
    },
}

/// Header of a frame to a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToClient {
    Hello(Hello),
    Event(EventHeader),
    Reply(Reply),
    Failure(Failure),
    /// The holder leaves and has not looked at what the client may have asked since.
    Goodbye,
    /// The holder leaves the folder to one who works in it: to whom this answers a
    /// hello, until the connection ends. To others it is a goodbye, and says for how
    /// long the folder has been free.
    Leaving {
        free_ms: u64,
    },
}

/// An event without what travels in the frame's body.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventHeader {
    Schema,
    Batch,
    Done(Done),
    Started(RunId),
    Rows { rows: u64, total: Option<u64> },
    Run(Box<RunView>),
    Sweep(SweepStatus),
    Logs(Vec<LogView>),
    Bytes,
}

/// Writes an event.
pub(super) fn write_event(to: &mut impl Write, event: Event) -> Result<()> {
    let (header, body) = match event {
        Event::Schema(schema) => (EventHeader::Schema, encode(&schema, None)?),
        Event::Batch(batch) => (EventHeader::Batch, encode(&batch.schema(), Some(&batch))?),
        Event::Done(done) => (EventHeader::Done(done), Vec::new()),
        Event::Started(run) => (EventHeader::Started(run), Vec::new()),
        Event::Rows { rows, total } => (EventHeader::Rows { rows, total }, Vec::new()),
        Event::Run(run) => (EventHeader::Run(run), Vec::new()),
        Event::Sweep(status) => (EventHeader::Sweep(status), Vec::new()),
        Event::Logs(lines) => (EventHeader::Logs(lines), Vec::new()),
        Event::Bytes(bytes) => (EventHeader::Bytes, bytes),
    };
    write_frame(to, &ToClient::Event(header), &body)
}

/// The event of a header and its frame's body.
pub(super) fn event(header: EventHeader, body: Vec<u8>) -> Result<Event> {
    Ok(match header {
        EventHeader::Schema => Event::Schema(decode(&body)?.0),
        EventHeader::Batch => {
            let (schema, batch) = decode(&body)?;
            Event::Batch(batch.unwrap_or_else(|| RecordBatch::new_empty(schema)))
        }
        EventHeader::Done(done) => Event::Done(done),
        EventHeader::Started(run) => Event::Started(run),
        EventHeader::Rows { rows, total } => Event::Rows { rows, total },
        EventHeader::Run(run) => Event::Run(run),
        EventHeader::Sweep(status) => Event::Sweep(status),
        EventHeader::Logs(lines) => Event::Logs(lines),
        EventHeader::Bytes => Event::Bytes(body),
    })
}

/// Reads the next frame of the holder; an error where the connection ends.
pub(super) fn read_from_holder(from: &mut impl Read) -> Result<(ToClient, Vec<u8>)> {
    let closed =
        || Error::library("the connection to the folder's holder broke", std::io::Error::other("it was closed"));
    read_frame(from)?.ok_or_else(closed)
}

fn encode(schema: &SchemaRef, batch: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let failed = |e| Error::library("rows cannot be sent over the folder's socket", e);
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(failed)?;
    if let Some(batch) = batch {
        writer.write(batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

fn decode(body: &[u8]) -> Result<(SchemaRef, Option<RecordBatch>)> {
    let failed = |e| Error::library("rows from the folder's socket cannot be read", e);
    let mut reader = StreamReader::try_new(body, None).map_err(failed)?;
    let schema = reader.schema();
    Ok((schema, reader.next().transpose().map_err(failed)?))
}
