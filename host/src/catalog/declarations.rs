//! Collects what a component declares, call by call (`wit/declare.wit`), and
//! checks it: names, order, repetitions and sizes.

use super::spec::{
    ExecutionMode, InputColumn, InputSpec, OutputColumn, OutputSpec, ParamSpec, ParamType, ProcSpec, Reducer,
    ReducerSpec,
};
use crate::base::{ColumnType, Error, Limits, MAX_NAME_BYTES, Result};

/// Procs of one component, inputs or outputs of one proc, columns, parameters: more are refused.
const MAX_ENTRIES: usize = 256;
/// Bytes of a description.
const MAX_DOC_BYTES: usize = 4096;
/// What each declaration counts beside its texts.
const ENTRY_BYTES: u64 = 32;

/// The procs declared so far.
#[derive(Debug)]
pub struct Declarations {
    procs: Vec<ProcSpec>,
    declared_bytes: u64,
    allowed_bytes: u64,
}

impl Default for Declarations {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

/// Columns that every model table has beside the declared ones.
pub const MODEL_COLUMNS: [(&str, ColumnType); 4] = [
    ("model", ColumnType::Binary),
    ("name", ColumnType::Utf8),
    ("id", ColumnType::Uuid),
    ("date_time_created", ColumnType::Timestamp),
];

impl Declarations {
    /// Nothing declared of what the limit `declared_bytes` allows.
    pub fn new(limits: &Limits) -> Self {
        Self { procs: Vec::new(), declared_bytes: 0, allowed_bytes: limits.declared_bytes }
    }

    /// Counts what one call declares.
    fn count(&mut self, texts: &[&str]) -> Result<()> {
        let bytes = texts.iter().fold(ENTRY_BYTES, |sum, text| sum.saturating_add(text.len() as u64));
        let declared_bytes = self.declared_bytes.saturating_add(bytes);
        if declared_bytes > self.allowed_bytes {
            return Err(Limits::exceeded("declared_bytes", declared_bytes, self.allowed_bytes));
        }
        self.declared_bytes = declared_bytes;
        Ok(())
    }

    /// `declare.proc`.
    pub fn proc(&mut self, name: &str, mode: &str, doc: &str) -> Result<()> {
        self.count(&[name, doc])?;
        let spec = ProcSpec {
            name: checked_name("proc", name)?,
            mode: mode.parse()?,
            doc: checked_doc(doc)?,
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            reducers: Vec::new(),
        };
        push("proc", &mut self.procs, spec, |p| &p.name)
    }

    /// `declare.input`.
    pub fn input(&mut self, proc: &str, name: &str, doc: &str) -> Result<()> {
        self.count(&[name, doc])?;
        let spec = InputSpec { name: checked_name("input", name)?, doc: checked_doc(doc)?, columns: Vec::new() };
        push("input", &mut self.find(proc)?.inputs, spec, |i| &i.name)
    }

    /// `declare.input-column`.
    pub fn input_column(&mut self, proc: &str, input: &str, name: &str, column_type: &str) -> Result<()> {
        self.count(&[name, column_type])?;
        let column = InputColumn { name: checked_name("column", name)?, class: checked_type(name, column_type)? };
        let proc = self.find(proc)?;
        let input = named("input", input, &proc.name, &mut proc.inputs, |i| &i.name)?;
        push("column", &mut input.columns, column, |c| &c.name)
    }

    /// `declare.output`.
    pub fn output(&mut self, proc: &str, name: &str, doc: &str) -> Result<()> {
        self.count(&[name, doc])?;
        let (name, doc) = (checked_name("output", name)?, checked_doc(doc)?);
        let spec = OutputSpec { name, doc, columns: Vec::new(), models: false };
        push("output", &mut self.find(proc)?.outputs, spec, |o| &o.name)
    }

    /// `declare.output-column`.
    pub fn output_column(&mut self, proc: &str, output: &str, column: (&str, &str, bool)) -> Result<()> {
        let (name, column_type, nullable) = column;
        self.count(&[name, column_type])?;
        let column_type = checked_type(name, column_type)?;
        let column = OutputColumn { name: checked_name("column", name)?, column_type, nullable };
        let output = self.find_output(proc, output)?;
        if output.models && is_model_column(name) {
            return Err(Error::Exists { kind: "column", name: name.to_owned() });
        }
        push("column", &mut output.columns, column, |c| &c.name)
    }

    /// `declare.output-models`.
    pub fn output_models(&mut self, proc: &str, output: &str) -> Result<()> {
        let output = self.find_output(proc, output)?;
        if let Some(column) = output.columns.iter().find(|c| is_model_column(&c.name)) {
            return Err(Error::Exists { kind: "column", name: column.name.clone() });
        }
        output.models = true;
        Ok(())
    }

    /// `declare.param`.
    pub fn param(&mut self, proc: &str, name: &str, param_type: &str, default: Option<&str>, doc: &str) -> Result<()> {
        self.count(&[name, default.unwrap_or_default(), doc])?;
        let name = checked_name("parameter", name)?;
        let param_type: ParamType = param_type.parse()?;
        if let Some(value) = default {
            param_type.check(&name, value)?;
            checked_doc(value)?;
        }
        let spec = ParamSpec { name, param_type, default: default.map(str::to_owned), doc: checked_doc(doc)? };
        push("parameter", &mut self.find(proc)?.params, spec, |p| &p.name)
    }

    /// `declare.reducer`.
    pub fn reducer(&mut self, proc: &str, name: &str, reducer: &str) -> Result<()> {
        self.count(&[name])?;
        let spec = ReducerSpec { name: checked_name("result", name)?, reducer: reducer.parse::<Reducer>()? };
        push("reducer", &mut self.find(proc)?.reducers, spec, |r| &r.name)
    }

    /// All procs, when there is at least one and each can be executed.
    pub fn finish(self) -> Result<Vec<ProcSpec>> {
        if self.procs.is_empty() {
            return Err(Error::Invalid("it declares no proc; call `declare.proc` in `describe`".into()));
        }
        for proc in &self.procs {
            if proc.mode == ExecutionMode::Distributed && proc.inputs.is_empty() {
                return Err(Error::Invalid(format!(
                    "distributed proc `{}` declares no input; it has one instance per shard of its first input",
                    proc.name
                )));
            }
            for (i, output) in proc.outputs.iter().enumerate() {
                if output.columns.is_empty() && !output.models && i >= proc.inputs.len() {
                    return Err(Error::Invalid(format!(
                        "output `{}` of proc `{}` declares no columns and has no input at its place to take them from",
                        output.name, proc.name
                    )));
                }
            }
        }
        Ok(self.procs)
    }

    fn find(&mut self, proc: &str) -> Result<&mut ProcSpec> {
        named("proc", proc, "", &mut self.procs, |p| &p.name)
    }

    fn find_output(&mut self, proc: &str, output: &str) -> Result<&mut OutputSpec> {
        let proc = self.find(proc)?;
        named("output", output, &proc.name, &mut proc.outputs, |o| &o.name)
    }
}

fn is_model_column(name: &str) -> bool {
    MODEL_COLUMNS.iter().any(|(column, _)| column.eq_ignore_ascii_case(name))
}

fn named<'a, T>(
    kind: &'static str,
    name: &str,
    proc: &str,
    list: &'a mut [T],
    key: fn(&T) -> &String,
) -> Result<&'a mut T> {
    match list.iter().position(|item| key(item) == name) {
        Some(at) => list.get_mut(at).ok_or_else(|| Error::Internal("a position outside its list".into())),
        None => {
            let within = (!proc.is_empty()).then(|| format!("proc `{proc}`"));
            let name: String = name.chars().take(MAX_NAME_BYTES).collect();
            Err(Error::not_found(kind, &name, within, list.iter().map(key)))
        }
    }
}

fn push<T>(kind: &'static str, list: &mut Vec<T>, item: T, key: fn(&T) -> &String) -> Result<()> {
    if list.iter().any(|other| key(other).eq_ignore_ascii_case(key(&item))) {
        return Err(Error::Exists { kind, name: key(&item).clone() });
    }
    if list.len() >= MAX_ENTRIES {
        return Err(Error::OutOfRange(format!("{kind} `{}`: at most {MAX_ENTRIES} may be declared", key(&item))));
    }
    list.push(item);
    Ok(())
}

fn checked_name(kind: &'static str, name: &str) -> Result<String> {
    check_word(kind, name)?;
    Ok(name.to_owned())
}

/// Refuses names that are not 1 to [`MAX_NAME_BYTES`] letters, digits, `_` and `-`.
pub(super) fn check_word(kind: &'static str, name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(allowed) {
        let shown: String = name.chars().take(64).collect();
        return Err(Error::Invalid(format!(
            "{kind} name {shown:?} cannot be used: names have 1 to {MAX_NAME_BYTES} letters, digits, `_` and `-`"
        )));
    }
    Ok(())
}

fn checked_doc(doc: &str) -> Result<String> {
    if doc.len() > MAX_DOC_BYTES {
        return Err(Error::OutOfRange(format!("a description has {} bytes, {MAX_DOC_BYTES} are allowed", doc.len())));
    }
    if doc.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        let shown: String = doc.chars().take(64).collect();
        return Err(Error::Invalid(format!("the description {shown:?} has control characters; take them out")));
    }
    Ok(doc.to_owned())
}

/// Bytes of the spelling of a type: bounds its nesting before it is parsed.
const MAX_TYPE_BYTES: usize = 256;

fn checked_type<T: std::str::FromStr<Err = Error>>(column: &str, text: &str) -> Result<T> {
    if text.len() > MAX_TYPE_BYTES {
        return Err(Error::OutOfRange(format!(
            "column `{column}`: its type is spelled with {} bytes, {MAX_TYPE_BYTES} are allowed",
            text.len()
        )));
    }
    text.parse()
}
