//! Results of instances, and several made one as the proc's reducers say.

use std::sync::Arc;

use crate::catalog::ProcSpec;
use crate::catalog::spec::Reducer;
use crate::storage::ResultRecord;

/// The value of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Arc<[u8]>),
}

impl Value {
    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }

    /// The bytes, when it is those.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(_) => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }

    /// The text; of bytes, how many they are.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => serde_json::json!({ "bytes": bytes.len() }),
        }
    }
}

/// One value for each declared reducer that has a value to work on, in declared order.
pub(super) fn merge(proc: &ProcSpec, results: &[ResultRecord]) -> Vec<(String, Value)> {
    let merged = proc.reducers.iter().filter_map(|reducer| {
        let of_name: Vec<_> = results.iter().filter(|result| result.name == reducer.name).collect();
        let value = match of_name.first()?.bytes {
            Some(_) => bytes(reducer.reducer, &of_name).map(|bytes| Value::Bytes(bytes.into())),
            None => {
                let values: Vec<&str> = of_name.iter().filter_map(|result| result.text.as_deref()).collect();
                reduce(reducer.reducer, &values).map(Value::Text)
            }
        };
        Some((reducer.name.clone(), value?))
    });
    merged.collect()
}

/// Bytes one after the other, or the first; there is no other way to merge them.
fn bytes(reducer: Reducer, results: &[&ResultRecord]) -> Option<Vec<u8>> {
    let mut parts = results.iter().filter_map(|result| result.bytes.as_deref());
    match reducer {
        Reducer::First => parts.next().map(<[u8]>::to_vec),
        Reducer::Concat => Some(parts.collect::<Vec<_>>().concat()),
        Reducer::Sum | Reducer::Min | Reducer::Max | Reducer::Mean => None,
    }
}

/// Nothing when there are no values, or one of them is not the number it should be.
fn reduce(reducer: Reducer, values: &[&str]) -> Option<String> {
    let first = values.first()?;
    match reducer {
        Reducer::First => return Some((*first).to_owned()),
        Reducer::Concat => return Some(values.concat()),
        _ => {}
    }
    // Whole numbers stay exact as long as they fit.
    let whole: Option<Vec<i128>> =
        values.iter().map(|value| value.trim().parse::<i64>().ok().map(i128::from)).collect();
    if let Some(whole) = whole {
        match reducer {
            Reducer::Sum => return Some(whole.iter().sum::<i128>().to_string()),
            Reducer::Min => return whole.iter().min().map(i128::to_string),
            Reducer::Max => return whole.iter().max().map(i128::to_string),
            _ => {}
        }
    }
    let numbers: Vec<f64> = values.iter().map(|value| value.trim().parse().ok()).collect::<Option<_>>()?;
    let number = match reducer {
        Reducer::Min => numbers.iter().copied().reduce(f64::min)?,
        Reducer::Max => numbers.iter().copied().reduce(f64::max)?,
        Reducer::Mean => numbers.iter().sum::<f64>() / numbers.len() as f64,
        _ => numbers.iter().sum::<f64>(),
    };
    Some(number.to_string())
}
