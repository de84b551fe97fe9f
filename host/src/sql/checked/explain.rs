//! The text of a plan with operators and casts as they were typed, where the plan
//! has the functions that stand for them.

/// What stands for a function: before, between and behind its arguments.
type Shape = (&'static str, [&'static str; 3]);

/// Of each name of `stand_in::Operation`.
const SHAPES: [Shape; 10] = [
    ("checked_add(", ["", " + ", ""]),
    ("checked_subtract(", ["", " - ", ""]),
    ("checked_multiply(", ["", " * ", ""]),
    ("checked_negative(", ["- ", "", ""]),
    ("checked_cast_float16(", ["CAST(", "", " AS Float16)"]),
    ("checked_cast_float32(", ["CAST(", "", " AS Float32)"]),
    ("checked_cast_float64(", ["CAST(", "", " AS Float64)"]),
    ("checked_try_cast_float16(", ["TRY_CAST(", "", " AS Float16)"]),
    ("checked_try_cast_float32(", ["TRY_CAST(", "", " AS Float32)"]),
    ("checked_try_cast_float64(", ["TRY_CAST(", "", " AS Float64)"]),
];

/// `checked_multiply(checked_add(a, b), c)` as `(a + b) * c`, anywhere in the
/// text of a plan.
pub(in crate::sql) fn as_typed(plan: &str) -> String {
    let mut typed = String::with_capacity(plan.len());
    let mut rest = plan;
    while let Some(next) = rest.chars().next() {
        let Some((shape, arguments, behind)) = call(rest) else {
            let end = if next == '"' { end_of_quotes(rest) } else { next.len_utf8() };
            let (verbatim, behind) = rest.split_at(end);
            typed.push_str(verbatim);
            rest = behind;
            continue;
        };
        let operation = written(shape, &arguments);
        match is_cast(shape) || stands_alone(&typed, behind) {
            true => typed.push_str(&operation),
            false => typed.push_str(&format!("({operation})")),
        }
        rest = behind;
    }
    typed
}

/// The call of a stand-in at the beginning of a text: its shape, its arguments
/// and what is behind it.
fn call(text: &str) -> Option<(&'static Shape, Vec<&str>, &str)> {
    let shape = SHAPES.iter().find(|(name, _)| text.starts_with(name))?;
    let inner = text.get(shape.0.len()..)?;
    let (mut depth, mut start, mut at) = (0usize, 0, 0);
    let mut arguments = Vec::new();
    while let Some(next) = inner.get(at..)?.chars().next() {
        match next {
            '"' => {
                at += end_of_quotes(inner.get(at..)?);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(inner.get(start..at)?);
                return Some((shape, arguments, inner.get(at + 1..)?));
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(inner.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
        at += next.len_utf8();
    }
    None
}

/// How many bytes the quoted name or text at the beginning has; one when its end
/// is missing.
fn end_of_quotes(text: &str) -> usize {
    text.get(1..).and_then(|inner| inner.find('"')).map_or(1, |end| end + 2)
}

fn written((_, [before, between, behind]): &Shape, arguments: &[&str]) -> String {
    let operands = arguments.iter().map(|argument| operand(argument.trim()));
    format!("{before}{}{behind}", operands.collect::<Vec<_>>().join(between))
}

/// An argument of an operator or a cast; operators within it are in parentheses.
fn operand(argument: &str) -> String {
    match call(argument) {
        Some((shape, arguments, "")) if !is_cast(shape) => format!("({})", written(shape, &arguments)),
        _ => as_typed(argument),
    }
}

fn is_cast((name, _): &Shape) -> bool {
    name.contains("cast")
}

/// Whether nothing beside a call binds to it as an operator does.
fn stands_alone(before: &str, behind: &str) -> bool {
    let begins = before.is_empty() || [": ", ", ", "(", "[", "\n"].iter().any(|end| before.ends_with(end));
    let ends = [",", ")", "]", " as ", " AS ", "\n", " ASC", " DESC"].iter().any(|start| behind.starts_with(start));
    begins && (ends || behind.is_empty())
}
