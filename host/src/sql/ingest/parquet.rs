//! Parquet files, all of the same columns, brought to column types.

use std::path::PathBuf;

use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::file::{Content, corrupt};
use super::{BATCH_ROWS, Options, Source};
use crate::base::{Error, Result, Schema};

/// The rows of the files in the order given.
pub(super) fn open(contents: Vec<Content>, options: &Options) -> Result<Source> {
    let mut readers = Vec::with_capacity(contents.len());
    let mut rows = 0u64;
    let mut first: Option<Schema> = None;
    for content in contents {
        let path = content.path().to_owned();
        let damaged = |e: parquet::errors::ParquetError| corrupt(&path, unreadable(&e));
        let builder = ParquetRecordBatchReaderBuilder::try_new(content.into_plain_file()?).map_err(damaged)?;
        let schema = super::file_schema(&path, builder.schema(), options)?;
        super::check_same(&path, first.get_or_insert_with(|| schema.clone()), &schema)?;
        rows += u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        readers.push((path.clone(), builder.with_batch_size(BATCH_ROWS).build().map_err(damaged)?));
    }
    let schema = first.ok_or_else(|| Error::Invalid("no file to read".into()))?;
    let wanted = schema.clone();
    let batches = readers.into_iter().flat_map(move |(path, reader)| batches(path, reader, wanted.clone()));
    Ok(Source::new(schema, Some(rows), batches))
}

/// The batches of one file as columns of `schema`.
fn batches(
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    schema: Schema,
) -> impl Iterator<Item = Result<arrow::array::RecordBatch>> {
    reader.map(move |batch| {
        let batch = batch.map_err(|e| corrupt(&path, unreadable(&e)))?;
        super::typed(&batch, &schema, &path.display().to_string())
    })
}

/// What is wrong with a Parquet file, on one line.
fn unreadable(error: &dyn std::error::Error) -> String {
    format!("not a readable Parquet file ({error}); it may be truncated")
}
