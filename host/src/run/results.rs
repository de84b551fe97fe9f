//! Results of several instances made one, as the proc's reducers say.

use crate::catalog::ProcSpec;
use crate::catalog::spec::Reducer;
use crate::storage::ResultRecord;

/// One value for each declared reducer that has a value to work on, in declared order.
pub(super) fn merge(proc: &ProcSpec, results: &[ResultRecord]) -> Vec<(String, String)> {
    let merged = proc.reducers.iter().filter_map(|reducer| {
        let of_name = results.iter().filter(|result| result.name == reducer.name);
        let values: Vec<&str> = of_name.filter_map(|result| result.text.as_deref()).collect();
        Some((reducer.name.clone(), reduce(reducer.reducer, &values)?))
    });
    merged.collect()
}

/// Nothing when there are no values, or none of them is the number it should be.
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
