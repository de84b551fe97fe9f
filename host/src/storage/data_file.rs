//! Parquet files: writing one through the file layer, and reading one.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::file_layer::{FileLayer, NewFile};
use super::forms;
use crate::base::{Error, Result};

/// Bytes gathered before they go to the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// Uncompressed size of a row group: it bounds what a writer holds.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A file being written.
pub(super) struct FileWriter {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<Counted>,
    rows: u64,
}

/// A file that was written and synced.
#[derive(Clone, Debug)]
pub(super) struct WrittenFile {
    pub(super) path: PathBuf,
    pub(super) rows: u64,
    pub(super) size_bytes: u64,
    pub(super) footer_bytes: u64,
    /// Compressed bytes of each leaf column, in the order of the schema.
    pub(super) column_bytes: Vec<u64>,
}

impl FileWriter {
    /// Creates the file. `row_bytes`: about what a row takes uncompressed.
    pub(super) fn create(files: &dyn FileLayer, path: &Path, schema: SchemaRef, row_bytes: usize) -> Result<Self> {
        let file = files.create(path).map_err(|e| Error::io("create", path, e))?;
        let out = Counted { file: BufWriter::with_capacity(BUFFER_BYTES, file), bytes: 0, tail: [0; 8] };
        let options =
            ArrowWriterOptions::new().with_properties(properties(&schema, row_bytes)?).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options)
            .map_err(|e| Error::library(format!("cannot write {}", path.display()), e))?;
        Ok(Self { path: path.to_owned(), schema, writer, rows: 0 })
    }

    /// Adds rows, in the form of the file's schema.
    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = forms::arrow(RecordBatch::try_new(self.schema.clone(), columns))?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(|e| failed(&self.path, e))
    }

    /// Number of rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and syncs the file; its folder is the caller's.
    pub(super) fn finish(self) -> Result<WrittenFile> {
        let Self { path, mut writer, rows, .. } = self;
        let metadata = writer.finish().map_err(|e| failed(&path, e))?;
        let mut column_bytes = vec![0; metadata.file_metadata().schema_descr().num_columns()];
        for group in metadata.row_groups() {
            for (total, column) in column_bytes.iter_mut().zip(group.columns()) {
                *total += u64::try_from(column.compressed_size()).unwrap_or(0);
            }
        }
        let out = writer.inner_mut();
        out.file.flush().and_then(|()| out.file.get_mut().sync()).map_err(|e| Error::io("write", &path, e))?;
        let [a, b, c, d, ..] = out.tail;
        let footer_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
        Ok(WrittenFile { rows, size_bytes: out.bytes, footer_bytes, column_bytes, path })
    }
}

/// A full disk is told as such, not as a fault of Parquet.
fn failed(path: &Path, error: parquet::errors::ParquetError) -> Error {
    use parquet::errors::ParquetError;
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => Error::io("write", path, *source),
            Err(source) => Error::library(format!("cannot write {}", path.display()), source),
        },
        other => Error::library(format!("cannot write {}", path.display()), other),
    }
}

/// Compressed lightly; dictionaries only for text, bounds only where DuckDB
/// can use them: tensors and blobs have neither.
fn properties(schema: &SchemaRef, row_bytes: usize) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|e| Error::library("cannot compress", e))?;
    let group_rows = (ROW_GROUP_BYTES / row_bytes.max(1)).clamp(64, 1 << 20);
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("quern".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(group_rows));
    for field in schema.fields() {
        let path = ColumnPath::from(field.name().as_str());
        match field.data_type() {
            DataType::Utf8 => builder = builder.set_column_dictionary_enabled(path, true),
            DataType::FixedSizeBinary(_) | DataType::LargeBinary => {
                builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
            }
            _ => {}
        }
    }
    Ok(builder.build())
}

/// Counts bytes and keeps the last eight, where Parquet has its footer's size.
struct Counted {
    file: BufWriter<Box<dyn NewFile>>,
    bytes: u64,
    tail: [u8; 8],
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        for byte in bytes.iter().take(written).skip(written.saturating_sub(self.tail.len())) {
            self.tail.rotate_left(1);
            if let Some(last) = self.tail.last_mut() {
                *last = *byte;
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file opened for reading.
pub(super) struct FileReader {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl FileReader {
    /// Opens a file and reads its footer.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let corrupt = |e: parquet::errors::ParquetError| corrupt(path, format!("it is not a whole Parquet file ({e})"));
        let plain = ArrowReaderMetadata::load(&file, options()).map_err(corrupt)?;
        let fields = plain.schema().fields().iter();
        let fields: Vec<Field> =
            fields.map(|f| f.as_ref().clone().with_data_type(forms::reading_type(f.data_type()))).collect();
        let schema = Arc::new(ArrowSchema::new(fields));
        let metadata =
            ArrowReaderMetadata::try_new(plain.metadata().clone(), options().with_schema(schema)).map_err(corrupt)?;
        Ok(Self { path: path.to_owned(), file, metadata })
    }

    /// Number of rows by the footer.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Bytes of a row, uncompressed, on average.
    pub(super) fn row_bytes(&self) -> u64 {
        let bytes: i64 = self.metadata.metadata().row_groups().iter().map(|group| group.total_byte_size()).sum();
        u64::try_from(bytes).unwrap_or(0).checked_div(self.rows()).unwrap_or(0)
    }

    /// Position of the column of a field id.
    pub(super) fn by_id(&self, id: i32) -> Option<usize> {
        self.metadata.schema().fields().iter().position(|field| forms::field_id(field) == Some(id))
    }

    /// Position of the column of a name.
    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        self.metadata.schema().fields().iter().position(|field| field.name() == name)
    }

    /// Reads columns by position, `batch_rows` rows at a time; the batches hold
    /// them in the order of the file.
    pub(super) fn batches(self, columns: &[usize], batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata);
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(batch_rows).build();
        reader.map_err(|e| corrupt(&self.path, e.to_string()))
    }
}

/// The error for a file that is not what the catalog says.
pub(super) fn corrupt(path: &Path, reason: String) -> Error {
    Error::Corrupt { what: format!("data file {}", path.display()), reason }
}
