//! Why a guest stopped, in words for its author: the limit, the panic, the trap.
//! Nothing of the host's own stack appears in them.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::engine::{MAX_INSTANCES, STACK_BYTES, root_cause};
use super::sandbox::{State, Unavailable};
use crate::base::{Error, Limits};

/// wasmtime's words (its types are private) when one call passes too many bytes.
const TOO_MANY_BYTES: &str = "fuel allocated for hostcalls has been exhausted";
/// Characters of a function's name that are shown.
const MAX_NAME_CHARS: usize = 200;
/// wasmtime's words when a guest holds too many handles.
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

/// The error for a guest that did not return. `stopped` is what the kill switch
/// says now.
pub(super) fn explain(error: wasmtime::Error, state: &mut State, proc: &str, stopped: Option<Error>) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(own) => return own,
        Err(other) => other,
    };
    if let Some(unavailable) = error.downcast_ref::<Unavailable>() {
        return Error::Denied(unavailable.to_string());
    }
    if let Some(stopped) = stopped {
        return stopped;
    }
    if error.is::<PoolConcurrencyLimitError>() {
        let allowed = u64::from(MAX_INSTANCES);
        return Error::Limit {
            limit: "running_instances",
            requested: allowed + 1,
            allowed,
            unit: "instances",
            hint: "so many have places in one process; wait for others to end".to_owned(),
        };
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if let (Some(Trap::UnreachableCodeReached) | None, Some(denied)) = (trap, state.meter.denied.take()) {
        return denied;
    }
    let text = root_cause(&error);
    if trap.is_none() && text.contains(TOO_MANY_BYTES) {
        return Limits::exceeded("call_bytes", state.limits.call_bytes.saturating_add(1), state.limits.call_bytes);
    }
    if trap.is_none() && text.contains(TOO_MANY_HANDLES) {
        return Limits::exceeded("handles", state.limits.handles.saturating_add(1), state.limits.handles);
    }
    let place =
        error.downcast_ref::<WasmBacktrace>().and_then(place).map(|name| format!(" in `{name}`")).unwrap_or_default();
    if trap == Some(Trap::StackOverflow) {
        return stack_exhausted(&place);
    }
    let reason = match trap {
        Some(trap) => in_words(trap, state, &place),
        None => text,
    };
    Error::Trap { proc: proc.to_owned(), reason }
}

fn in_words(trap: Trap, state: &State, place: &str) -> String {
    match trap {
        Trap::UnreachableCodeReached => match &state.last_error {
            Some(text) => text.clone(),
            None => format!("it aborted{place}"),
        },
        Trap::IntegerDivisionByZero => format!("division by zero{place}"),
        Trap::IntegerOverflow => format!("integer overflow{place}"),
        Trap::BadConversionToInteger => format!("a number does not fit an integer{place}"),
        Trap::MemoryOutOfBounds => format!("memory access out of bounds{place}"),
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
            format!("call of a function that does not exist{place}")
        }
        other => format!("{}{place}", other.to_string().trim_start_matches("wasm trap: ")),
    }
}

/// The stack belongs to the engine that all guests share, so nobody can raise it.
fn stack_exhausted(place: &str) -> Error {
    let allowed = STACK_BYTES as u64;
    Error::Limit {
        limit: "stack_bytes",
        requested: allowed.saturating_add(1),
        allowed,
        unit: "bytes",
        hint: format!("it is exhausted{place} and the same for all procs; is a recursion endless?"),
    }
}

/// The innermost function of the guest that has a name.
fn place(trace: &WasmBacktrace) -> Option<String> {
    trace.frames().iter().find_map(|frame| {
        let symbol = frame.symbols().iter().find_map(|symbol| symbol.name().map(str::to_owned));
        symbol.or_else(|| frame.func_name().map(str::to_owned)).map(|name| readable(&name))
    })
}

/// A symbol as its author wrote it, without the hashes that compilers add. A guest
/// chooses its symbols, so what one becomes is bounded.
fn readable(symbol: &str) -> String {
    let name = match rustc_demangle::try_demangle(symbol) {
        Ok(name) => format!("{name:#}"),
        Err(_) => strip_hash(symbol).to_owned(),
    };
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// Rust's older symbols end in a hash, `::h0123456789abcdef`.
fn strip_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn symbols_are_shown_as_they_were_written() {
        for (symbol, shown) in [
            ("_RNCNvNtCs1ylGHjWQK3y_3std5alloc8rust_oom0B5_", "std::alloc::rust_oom::{closure#0}"),
            ("_ZN4core6option13unwrap_failed17h0123456789abcdefE", "core::option::unwrap_failed"),
            ("hostile::spin::h0123456789abcdef", "hostile::spin"),
            ("hostile::spin", "hostile::spin"),
        ] {
            assert_eq!(readable(symbol), shown);
        }
        assert_eq!(readable(&"x".repeat(1000)).len(), 200);
    }
}
