//! What a proc says about itself: the declarations of a component in a form
//! that is stored, shown and checked against. Spelled in JSON as in `wit/declare.wit`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{Column, ColumnType, Error, Result};

/// One proc of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcSpec {
    /// Its name, unique in the component.
    pub name: String,
    /// How many instances a run has.
    pub mode: ExecutionMode,
    /// One line for people.
    #[serde(default)]
    pub doc: String,
    /// The tables it reads, by position.
    #[serde(default)]
    pub inputs: Vec<InputSpec>,
    /// The tables it appends to, by position.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// What a caller may pass.
    #[serde(default)]
    pub params: Vec<ParamSpec>,
    /// How results of several instances become one.
    #[serde(default)]
    pub reducers: Vec<ReducerSpec>,
}

/// How many instances a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionMode {
    /// One instance per shard of the first input.
    Distributed,
    /// One instance that sees all shards.
    Nondistributed,
}

/// A table that a proc reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The proc's name for it.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub doc: String,
    /// Columns the table must have; others are allowed.
    #[serde(default)]
    pub columns: Vec<InputColumn>,
}

/// A column that an input must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputColumn {
    /// Its name in the table.
    pub name: String,
    /// The types it may have.
    #[serde(rename = "type")]
    pub class: ColumnClass,
}

/// The types that a declared input column may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnClass {
    /// Every type.
    Any,
    /// Integers and floats.
    Numeric,
    /// Tensors of any element type and shape.
    Tensor,
    /// This type only.
    Exactly(ColumnType),
}

/// A table that a proc appends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// The proc's name for it.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub doc: String,
    /// Columns of the table; when empty those of the paired input.
    #[serde(default)]
    pub columns: Vec<OutputColumn>,
    /// Whether it holds models.
    #[serde(default)]
    pub models: bool,
}

/// A column of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", with = "spelling")]
    pub column_type: ColumnType,
    /// Whether rows may lack a value.
    #[serde(default)]
    pub nullable: bool,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Its name.
    pub name: String,
    /// The values it takes.
    #[serde(rename = "type")]
    pub param_type: ParamType,
    /// The value when the caller gives none; a parameter without is required.
    #[serde(default)]
    pub default: Option<String>,
    /// One line for people.
    #[serde(default)]
    pub doc: String,
}

/// The values a parameter takes. They travel as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// A signed 64-bit integer.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Any text.
    String,
    /// Bytes; a default is the text that they spell.
    Binary,
}

/// How one result of several instances becomes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReducerSpec {
    /// The result's name.
    pub name: String,
    /// What is done.
    pub reducer: Reducer,
}

/// What a reducer does with the values of all instances, in shard order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reducer {
    /// Adds numbers.
    Sum,
    /// The smallest number.
    Min,
    /// The largest number.
    Max,
    /// The arithmetic mean of numbers.
    Mean,
    /// Texts one after the other.
    Concat,
    /// The first instance's.
    First,
}

/// Gives an enum of words its spelling: `as_str`, `Display` and `FromStr`.
macro_rules! words {
    ($type:ident, $kind:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every word there is.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word used in WIT, SQL and messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Error::Invalid(format!(
                        concat!($kind, " `{}` is not one of {}"), text.escape_debug(), Self::WORDS.join(", ")
                    ))),
                }
            }
        }
    };
}

words!(ExecutionMode, "mode", Distributed = "distributed", Nondistributed = "nondistributed");
words!(ParamType, "parameter type", Int = "int", Float = "float", Bool = "bool", String = "string", Binary = "binary");
words!(Reducer, "reducer", Sum = "sum", Min = "min", Max = "max", Mean = "mean", Concat = "concat", First = "first");

impl ParamType {
    /// Refuses a text that is not a value of this type; `name` is the parameter.
    pub fn check(self, name: &str, value: &str) -> Result<()> {
        let fits = match self {
            Self::Int => value.parse::<i64>().is_ok(),
            Self::Float => value.parse::<f64>().is_ok(),
            Self::Bool => matches!(value, "true" | "false"),
            Self::String | Self::Binary => true,
        };
        if fits {
            return Ok(());
        }
        let example = match self {
            Self::Int => "a whole number, for example 10",
            Self::Float => "a number, for example 0.001",
            Self::Bool | Self::String | Self::Binary => "true or false",
        };
        Err(Error::TypeMismatch(format!("parameter `{name}` takes {example}, not `{}`", value.escape_debug())))
    }
}

impl ColumnClass {
    /// Whether a column of this type may be given.
    pub fn accepts(&self, column_type: &ColumnType) -> bool {
        match self {
            Self::Any => true,
            Self::Numeric => matches!(column_type, ColumnType::Number(d) if d.is_integer() || d.is_float()),
            Self::Tensor => matches!(column_type, ColumnType::Tensor { .. }),
            Self::Exactly(exact) => exact == column_type,
        }
    }
}

impl std::fmt::Display for ColumnClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Numeric => f.write_str("numeric"),
            Self::Tensor => f.write_str("tensor"),
            Self::Exactly(exact) => exact.fmt(f),
        }
    }
}

impl std::str::FromStr for ColumnClass {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "any" => Self::Any,
            "numeric" => Self::Numeric,
            "tensor" => Self::Tensor,
            exact => Self::Exactly(exact.parse()?),
        })
    }
}

impl Serialize for ColumnClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        spelling::deserialize(deserializer)
    }
}

impl OutputColumn {
    /// As a column of a table.
    pub fn to_column(&self) -> Column {
        Column { name: self.name.clone(), column_type: self.column_type.clone(), nullable: self.nullable }
    }
}

/// Serde of values by their `Display` and `FromStr`.
mod spelling {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err = crate::base::Error>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
