//! Arrow IPC files and streams, all of the same columns, brought to column types.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};

use super::file::{Content, corrupt};
use super::{BATCH_ROWS, Options, Source};
use crate::base::{Error, Result, Schema};

/// What both readers are behind their header.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// The rows of the files in the order given.
pub(super) fn open(contents: Vec<Content>, options: &Options) -> Result<Source> {
    let mut readers = Vec::with_capacity(contents.len());
    let mut first: Option<Schema> = None;
    for content in contents {
        let path = content.path().to_owned();
        let (arrow, batches) = open_one(content).map_err(|e| match e {
            Opening::Arrow(e) => corrupt(&path, unreadable(&e)),
            Opening::File(e) => e,
        })?;
        let schema = super::file_schema(&path, &arrow, options)?;
        super::check_same(&path, first.get_or_insert_with(|| schema.clone()), &schema)?;
        readers.push((path, batches));
    }
    let schema = first.ok_or_else(|| Error::Invalid("no file to read".into()))?;
    let wanted = schema.clone();
    let batches = readers.into_iter().flat_map(move |(path, batches)| {
        let wanted = wanted.clone();
        batches.flat_map(move |batch| match batch {
            Ok(batch) => slices(&batch).map(|part| super::typed(&part, &wanted, &path.display().to_string())).collect(),
            Err(e) => vec![Err(corrupt(&path, unreadable(&e)))],
        })
    });
    Ok(Source::new(schema, None, batches))
}

/// Why a file could not be opened.
enum Opening {
    Arrow(ArrowError),
    File(Error),
}

/// The schema and the batches of one file.
fn open_one(mut content: Content) -> Result<(SchemaRef, Batches), Opening> {
    let is_file = content.peek().map_err(Opening::File)?.starts_with(b"ARROW1");
    if is_file {
        let file = std::io::BufReader::new(content.into_plain_file().map_err(Opening::File)?);
        let reader = FileReader::try_new(file, None).map_err(Opening::Arrow)?;
        return Ok((reader.schema(), Box::new(reader)));
    }
    let reader = StreamReader::try_new(content, None).map_err(Opening::Arrow)?;
    Ok((reader.schema(), Box::new(reader)))
}

/// A batch in parts of the usual size.
fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    (0..batch.num_rows()).step_by(BATCH_ROWS).map(|start| batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start)))
}

/// What is wrong with an Arrow file, on one line.
fn unreadable(error: &ArrowError) -> String {
    match error.to_string() {
        text if text.contains("compression") => {
            "its buffers are compressed, which is not supported; write it with compression=None".to_owned()
        }
        text => format!("not a readable Arrow IPC file ({text}); it may be truncated"),
    }
}
