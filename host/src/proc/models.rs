//! Models and checkpoints of a run: tensors that become a file in a row of an
//! output, and files in rows of inputs that become tensors.

use std::sync::Arc;

use super::instance::Run;
use super::job::SavedModel;
use super::model_cache::CachedModel;
use super::model_file::{ModelFile, ModelTensor};
use super::tables::TableHandle;
use super::text;
use crate::base::{ColumnType, Error, Limits, Result, now_us, sha256_hex_while};
use crate::device::{Charge, KillSwitch};
use crate::table::Cell;
use crate::tensor::Tensor;

/// Entries of metadata of one model.
const MAX_METADATA: usize = 1000;

/// Metadata key of a checkpoint: how many random operations came before it.
const RANDOM_KEY: &str = "quern.random_calls";

/// Bytes of an id as text.
const ID_BYTES: u64 = 36;

/// A loaded model.
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct ModelHandle {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) model: Arc<CachedModel>,
    /// Its bytes in the run's device memory, as long as a tensor of it is held.
    pub(super) charge: Arc<Charge>,
}

/// Which row of a model table.
pub(super) enum Selector<'a> {
    Newest,
    Id(&'a str),
    Name(&'a str),
}

impl Selector<'_> {
    /// The function that picks so, named as in `wit/`.
    pub(super) fn function(&self) -> &'static str {
        match self {
            Self::Newest => "models.load-newest",
            Self::Id(_) => "models.load-by-id",
            Self::Name(_) => "models.load-by-name",
        }
    }
}

impl Run {
    /// Appends a row with the tensors as a file to an output; its id.
    pub(super) fn save_model(
        &mut self,
        table: TableHandle,
        name: &str,
        tensors: &[(&str, Tensor)],
        metadata: &[(String, String)],
        limits: &Limits,
    ) -> Result<String> {
        let TableHandle::Output(at) = table else {
            return Err(Error::Denied("models are saved to an output; this table is an input".into()));
        };
        let saved = self.saved_models.len() as u64;
        if saved >= limits.saved_models {
            return Err(Limits::exceeded("saved_models", saved + 1, limits.saved_models));
        }
        let columns = ["model", "name", "id", "date_time_created"].map(|column| self.find_column(table, column));
        let [model_column, name_column, id_column, date_column] = columns;
        let file = self.model_file(tensors, metadata, limits)?;
        let sha256 = sha256_hex_while(&file, || self.kill.check())?;
        let id = uuid::Uuid::now_v7().to_string();
        let now = now_us().to_le_bytes();
        let mut cells = vec![
            (model_column?, Cell::Bytes(&file)),
            (name_column?, Cell::Text(name)),
            (id_column?, Cell::Text(&id)),
            (date_column?, Cell::Bytes(&now)),
        ];
        for (key, value) in metadata {
            // Most keys are no column, and an error about each takes long to write.
            let columns = self.output(at)?.1.schema().columns();
            if let Some(column) = columns.iter().position(|column| column.name == *key) {
                if cells.iter().any(|(taken, _)| *taken == column) {
                    return Err(Error::Exists { kind: "metadata", name: key.clone() });
                }
                cells.push((column, Cell::Text(value)));
            }
        }
        self.output_mut(at)?.push(&cells)?;
        self.moved.outputs_bytes += tensors.iter().map(|(_, tensor)| size_bytes(tensor)).sum::<u64>();
        self.saved_models.push(SavedModel {
            output: self.output(at)?.0.clone(),
            id: id.clone(),
            name: name.to_owned(),
            sha256,
            size_bytes: file.len() as u64,
        });
        Ok(id)
    }

    /// The tensors as a file.
    fn model_file(
        &mut self,
        tensors: &[(&str, Tensor)],
        metadata: &[(String, String)],
        limits: &Limits,
    ) -> Result<Vec<u8>> {
        let asked_bytes = tensors.iter().map(|(_, tensor)| size_bytes(tensor)).fold(0, u64::saturating_add);
        if asked_bytes > limits.model_bytes {
            return Err(Limits::exceeded("model_bytes", asked_bytes, limits.model_bytes));
        }
        let read = tensors.iter().map(|(_, tensor)| self.session.read(tensor)).collect::<Result<Vec<_>>>()?;
        let parts: Vec<ModelTensor<'_>> = tensors
            .iter()
            .zip(&read)
            .map(|((name, tensor), data)| ModelTensor { name, dtype: tensor.dtype(), shape: tensor.shape(), data })
            .collect();
        let file = ModelFile::write(&parts, metadata, &self.kill)?;
        if file.len() as u64 > limits.model_bytes {
            return Err(Limits::exceeded("model_bytes", file.len() as u64, limits.model_bytes));
        }
        Ok(file)
    }

    /// Keeps the tensors as the newest checkpoint of that name.
    pub(super) fn keep_checkpoint(
        &mut self,
        name: &str,
        tensors: &[(&str, Tensor)],
        mut metadata: Vec<(String, String)>,
        limits: &Limits,
    ) -> Result<()> {
        metadata.push((RANDOM_KEY.to_owned(), self.session.random_calls().to_string()));
        let file = self.model_file(tensors, &metadata, limits)?;
        let sha256 = sha256_hex_while(&file, || self.kill.check())?;
        self.checkpoints.keep(name, &file, &sha256)?;
        self.moved.reads_bytes += tensors.iter().map(|(_, tensor)| size_bytes(tensor)).sum::<u64>();
        Ok(())
    }

    /// The newest checkpoint of that name of the run that this one resumes.
    pub(super) fn restore_checkpoint(&mut self, name: &str) -> Result<Option<ModelHandle>> {
        let Some((file, sha256)) = self.checkpoints.resumed(name)? else { return Ok(None) };
        let what = format!("checkpoint `{name}`");
        let charge = Arc::new(self.session.charge(file.len())?);
        let (model, copied_bytes) = self.model_cache.load(&what, &file, Some(&sha256), &self.kill)?;
        self.moved.inputs_bytes += copied_bytes;
        let calls = model.metadata.iter().find(|(key, _)| key == RANDOM_KEY).and_then(|(_, calls)| calls.parse().ok());
        let no_calls = || Error::Corrupt { what, reason: "it does not say where random numbers go on".into() };
        self.session.set_random_calls(calls.ok_or_else(no_calls)?);
        Ok(Some(ModelHandle { id: sha256, name: name.to_owned(), model, charge }))
    }

    /// The ids of the models of an input, in the order of its rows.
    pub(super) fn model_ids(&mut self, table: TableHandle, call_bytes: u64) -> Result<Vec<String>> {
        let TableHandle::Input(at) = table else {
            return Err(not_an_input());
        };
        let column = self.find_column(table, "id")?;
        let (_, view) = self.input(at)?;
        let ids = view.column(column)?;
        // Ids that are text may have any length.
        let bytes = match ids.column_type() {
            ColumnType::Uuid => view.rows().saturating_mul(ID_BYTES),
            _ => ids.size_bytes(),
        };
        if bytes > call_bytes {
            return Err(Limits::exceeded("call_bytes", bytes, call_bytes));
        }
        let rows = usize::try_from(view.rows()).unwrap_or(usize::MAX);
        (0..rows).map(|row| Ok(model_id(ids.column_type(), ids.row_bytes(row)?))).collect()
    }

    /// A model of an input.
    pub(super) fn load_model(&mut self, table: TableHandle, selector: &Selector<'_>) -> Result<ModelHandle> {
        let TableHandle::Input(at) = table else {
            return Err(not_an_input());
        };
        let columns = ["model", "name", "id"].map(|column| self.find_column(table, column));
        let [model_column, name_column, id_column] = columns;
        let (_, view) = self.input(at)?;
        let (names, ids) = (view.column(name_column?)?, view.column(id_column?)?);
        let found = match selector {
            Selector::Newest => usize::try_from(view.rows()).ok().and_then(|rows| rows.checked_sub(1)),
            Selector::Name(name) => {
                last_row(view.rows(), &self.kill, |row| Ok(names.row_bytes(row)? == name.as_bytes()))?
            }
            Selector::Id(id) => {
                let wanted = uuid::Uuid::try_parse(id).map_err(|_| {
                    Error::Invalid(format!("`{id}` is no model id; an id is a uuid, as in the column `id`"))
                })?;
                last_row(view.rows(), &self.kill, |row| {
                    Ok(model_id(ids.column_type(), ids.row_bytes(row)?).parse() == Ok(wanted))
                })?
            }
        };
        let row = found.ok_or_else(|| match selector {
            Selector::Newest => {
                Error::not_found("model", "newest", Some(format!("table `{}`, which is empty", view.name())), [""])
            }
            Selector::Id(name) | Selector::Name(name) => {
                Error::not_found("model", name, Some(format!("table `{}`", view.name())), [""])
            }
        })?;
        let id = model_id(ids.column_type(), ids.row_bytes(row)?);
        let name = String::from_utf8_lossy(names.row_bytes(row)?).into_owned();
        let files = view.column(model_column?)?;
        let expected = (self.model_sha256)(&id)?;
        let what = format!("model `{name}` ({id})");
        let file = files.row_bytes(row)?;
        // Models are shared by all runs, and counted in full for each that holds one.
        let charge = Arc::new(self.session.charge(file.len())?);
        let (model, copied_bytes) = self.model_cache.load(&what, file, expected.as_deref(), &self.kill)?;
        self.moved.inputs_bytes += copied_bytes;
        Ok(ModelHandle { id, name, model, charge })
    }
}

/// The last row that `fits`; looks at the kill switch now and then.
fn last_row(rows: u64, kill: &KillSwitch, fits: impl Fn(usize) -> Result<bool>) -> Result<Option<usize>> {
    for row in (0..usize::try_from(rows).unwrap_or(usize::MAX)).rev() {
        if row % 65_536 == 0 {
            kill.check()?;
        }
        if fits(row)? {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// The text of an id in a column of uuids or of text.
fn model_id(column_type: &ColumnType, bytes: &[u8]) -> String {
    match (column_type, bytes.try_into()) {
        (ColumnType::Uuid, Ok(bytes)) => uuid::Uuid::from_bytes(bytes).to_string(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn size_bytes(tensor: &Tensor) -> u64 {
    let elements = tensor.shape().iter().fold(1u64, |n, extent| n.saturating_mul(*extent as u64));
    elements.saturating_mul(tensor.dtype().size_bytes() as u64)
}

/// Refuses metadata that is too much, or has names that are none.
pub(super) fn check_metadata(metadata: &[(String, String)], limits: &Limits) -> Result<()> {
    if metadata.len() > MAX_METADATA {
        return Err(Error::OutOfRange(format!("{} entries of metadata, {MAX_METADATA} are allowed", metadata.len())));
    }
    for (key, value) in metadata {
        text::name("metadata", key)?;
        if value.len() as u64 > limits.text_bytes {
            return Err(Limits::exceeded("text_bytes", value.len() as u64, limits.text_bytes));
        }
    }
    Ok(())
}

fn not_an_input() -> Error {
    Error::Denied("models are loaded from an input; this table is an output".into())
}
