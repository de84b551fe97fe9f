//! Numbers as people read them, each with its unit.

use std::borrow::Cow;
use std::time::Duration;

use crate::base::now_us;

/// `60,000`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.5 KiB`, `44.9 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in UNITS {
        // 1023.96 would be rounded to 1024.0, so it belongs to the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `850 µs`, `42 ms`, `3.21 s`, `2 min 05 s`, `3 h 07 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    if time.as_micros() < 1_000 {
        format!("{} µs", time.as_micros())
    } else if seconds < 0.9995 {
        let ms = seconds * 1e3;
        if ms < 9.95 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
    } else if seconds < 59.995 {
        format!("{seconds:.2} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// [`duration`] of milliseconds, as receipts and timings have them.
pub(crate) fn duration_ms(ms: f64) -> String {
    duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())
}

/// A number as its author wrote it; one so small that its zeros hide it with four
/// digits, `1.752e-9`, unless it has no more than those.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 4;
    let (mantissa, _) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let digits = mantissa.trim_start_matches(['-', '+', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
    match text.parse::<f64>() {
        Ok(number) if number != 0.0 && number.abs() < 1e-3 && digits > DIGITS => format!("{number:.3e}").into(),
        _ => text.into(),
    }
}

/// `97.85 %`, of `part` in `whole`; 0 where there is nothing.
pub(crate) fn percent(part: u64, whole: u64, decimals: usize) -> String {
    let value = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    // A wrong row must not vanish in rounding: 99.999 % is not 100 %.
    let step = 10f64.powi(i32::try_from(decimals).unwrap_or(0));
    let rounded = if part < whole { ((value * step).round() / step).min(100.0 - 1.0 / step) } else { value };
    format!("{rounded:.decimals$} %")
}

/// `2026-11-22 10:15:07` in UTC, of microseconds since 1970.
pub(crate) fn timestamp(us: i64) -> String {
    let seconds = us.div_euclid(1_000_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3600, of_day % 3600 / 60, of_day % 60)
}

/// How long ago a moment was: `12 s ago`, `3 h ago`, `5 d ago`.
pub(crate) fn since(us: i64) -> String {
    let passed = now_us().saturating_sub(us).max(0) / 1_000_000;
    match passed {
        0 => "just now".to_owned(),
        1..60 => format!("{passed} s ago"),
        60..3600 => format!("{} min ago", passed / 60),
        3600..172_800 => format!("{} h ago", passed / 3600),
        _ => format!("{} d ago", passed / 86_400),
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn tiny_numbers_are_shown_with_four_digits() {
        for (text, shown) in [
            ("0.000000001752337608351695", "1.752e-9"),
            ("-0.00012345678", "-1.235e-4"),
            ("1.752337608351695e-9", "1.752e-9"),
            ("0.0001", "0.0001"),
            ("0.25123456789", "0.25123456789"),
            ("1200000", "1200000"),
            ("0.0", "0.0"),
            ("0.00012345 s", "0.00012345 s"),
        ] {
            assert_eq!(readable(text), shown);
        }
    }
}
