//! Panics in a guest: their text and place go to the run's log, because the
//! trap that follows says only `unreachable`.

use std::panic::PanicHookInfo;
use std::sync::Once;

/// Makes panics write to the run's log. Called at each entry; acts once.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| crate::error(message(panic)))));
}

/// `panicked at src/lib.rs:7:5: index out of bounds …`.
fn message(panic: &PanicHookInfo<'_>) -> String {
    let text = panic.payload_as_str().unwrap_or("a panic without text");
    match panic.location() {
        Some(place) => format!("panicked at {}:{}:{}: {text}", place.file(), place.line(), place.column()),
        None => format!("panicked: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    #[test]
    #[expect(clippy::panic, clippy::unwrap_used)]
    fn a_panic_is_told_with_its_text_and_place() {
        static SEEN: Mutex<String> = Mutex::new(String::new());
        let before = std::panic::take_hook();
        // The hook is that of all threads, and other tests panic at the same time.
        let own = std::thread::current().id();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == own {
                *SEEN.lock().unwrap() = super::message(panic);
            }
        }));
        let line = line!() + 1;
        let outcome = std::panic::catch_unwind(|| panic!("row {} has no label", 7));
        std::panic::set_hook(before);
        assert!(outcome.is_err());
        let text = SEEN.lock().unwrap().clone();
        assert!(text.contains(&format!("src/panic.rs:{line}:")), "{text}");
        assert!(text.ends_with(": row 7 has no label"), "{text}");
    }
}
