//! Components that no compiler made: each is refused or stopped with its reason,
//! and the next proc runs as if nothing had been.

use quern::base::Limits;
use quern::proc::{Engine, inspect};
use wasm_encoder::{BlockType, Instruction};

use super::fixture::works_normally;
use super::raw::{ANSWER, FROM_BYTES, INPUTS, NAME, Raw, SET_RESULT, SHAPE, call, forever};
use crate::support::instance::Trial;

/// Why the component is refused when it is created.
fn refusal(raw: &Raw) -> String {
    let bytes = raw.component();
    let refused = inspect(Engine::get().unwrap(), "raw.wasm", &bytes, &Limits::default(), None);
    let text = refused.expect_err("it should be refused").chain();
    works_normally();
    text
}

/// Why a run fails that does `body`.
fn failure(body: Vec<Instruction<'static>>) -> String {
    let run = [body, vec![Instruction::I32Const(ANSWER)]].concat();
    let text = Trial::new(&Raw { run, ..Raw::default() }.component(), "raw").failure();
    works_normally();
    text
}

#[test]
fn a_component_made_by_hand_can_be_executed() {
    let trial = Trial::new(&Raw::default().component(), "raw");
    trial.run().result.unwrap();
    let named = call(SET_RESULT, &[NAME, 3, NAME, 3, ANSWER]);
    let run = [named, vec![Instruction::I32Const(ANSWER)]].concat();
    let trial = Trial::new(&Raw { run, ..Raw::default() }.component(), "raw");
    trial.run().result.unwrap();
    assert_eq!(trial.results(), [("raw".to_owned(), "raw".to_owned())]);
}

#[test]
fn what_describe_does_wrong_is_told() {
    let describing = |describe| refusal(&Raw { describe, ..Raw::default() });
    let begin = "raw.wasm is not a usable component: ";
    assert_eq!(describing(vec![Instruction::Unreachable]), format!("{begin}`describe` stopped: it aborted"));
    assert_eq!(describing(forever()), format!("{begin}`describe` takes longer than 500 ms"));
    assert_eq!(
        describing(call(INPUTS, &[ANSWER])),
        format!(
            "{begin}`describe` stopped: `tables.inputs` is not available in `describe`, \
             where only `declare` and `job.log` are"
        )
    );
    assert_eq!(
        describing(call(SET_RESULT, &[NAME, 3, NAME, 3, ANSWER])),
        format!(
            "{begin}`describe` stopped: `job.set-result` is not available in `describe`, \
             where only `declare` and `job.log` are"
        )
    );
    let grown =
        vec![Instruction::I32Const(2000), Instruction::MemoryGrow(0), Instruction::Drop, Instruction::Unreachable];
    assert_eq!(
        describing(grown),
        format!("{begin}`describe` stopped: limit `guest_memory_bytes`: 131203072 bytes asked, 67108864 bytes allowed")
    );
}

#[test]
fn names_that_could_not_be_shown_or_typed_are_refused() {
    let named = |name| refusal(&Raw { name, ..Raw::default() });
    let begin = "raw.wasm is not a usable component: `declare` refused: proc name ";
    let end = " cannot be used: names have 1 to 128 letters, digits, `_` and `-`";
    assert_eq!(named(b"'; DROP TABLE runs --"), format!("{begin}\"'; DROP TABLE runs --\"{end}"));
    assert_eq!(named(b"\x1b[2J"), format!("{begin}\"\\u{{1b}}[2J\"{end}"));
    assert_eq!(named(b""), format!("{begin}\"\"{end}"));
    assert_eq!(
        named(b"\xff\xfe"),
        "raw.wasm is not a usable component: `describe` stopped: invalid utf-8 sequence of 1 bytes from index 0"
    );
}

#[test]
fn forged_and_foreign_handles_stop_the_guest() {
    assert_eq!(failure(call(SHAPE, &[12_345, ANSWER])), "proc `raw` stopped: unknown handle index 12345");
    assert_eq!(failure(call(SHAPE, &[-1, ANSWER])), "proc `raw` stopped: unknown handle index 4294967295");
    assert_eq!(failure(call(SHAPE, &[0, ANSWER])), "proc `raw` stopped: unknown handle index 0");
}

#[test]
fn lists_and_texts_outside_the_guest_s_memory_stop_it() {
    let list = "proc `raw` stopped: list pointer/length out of bounds of memory";
    // 4 GiB of bytes, from address 0.
    assert_eq!(failure(call(FROM_BYTES, &[4, 0, 0, 0, -1, ANSWER])), list);
    assert_eq!(failure(call(FROM_BYTES, &[4, 0, -1, 0, 0, ANSWER])), list);
    assert_eq!(
        failure(call(SET_RESULT, &[-8, 100, NAME, 3, ANSWER])),
        "proc `raw` stopped: string pointer/length out of bounds of memory"
    );
    assert_eq!(failure(call(SET_RESULT, &[NAME, 3, NAME, 3, -4])), "proc `raw` stopped: pointer out of bounds");
    assert_eq!(failure(call(FROM_BYTES, &[99, 0, 0, 0, 0, ANSWER])), "proc `raw` stopped: unexpected discriminant: 99");
}

#[test]
fn an_answer_outside_the_guest_s_memory_stops_it() {
    let text = |run| Trial::new(&Raw { run, ..Raw::default() }.component(), "raw").failure();
    assert_eq!(text(vec![Instruction::I32Const(-16)]), "proc `raw` stopped: pointer out of bounds of memory");
    assert_eq!(text(vec![Instruction::I32Const(ANSWER + 1)]), "proc `raw` stopped: return pointer not aligned");
    let seven = [Instruction::I32Const(ANSWER), Instruction::I32Const(7), Instruction::I32Store8(at(0))];
    assert_eq!(
        text([seven.to_vec(), vec![Instruction::I32Const(ANSWER)]].concat()),
        "proc `raw` stopped: invalid expected discriminant"
    );
    works_normally();
}

#[test]
fn an_allocator_that_lies_or_calls_the_host_stops_its_guest() {
    let params = |realloc| {
        let run = [call(INPUTS, &[ANSWER]), vec![Instruction::I32Const(ANSWER)]].concat();
        Raw { run, realloc, ..Raw::default() }.component()
    };
    let lying = Trial::new(&params(vec![Instruction::I32Const(-8)]), "raw");
    assert_eq!(lying.failure(), "proc `raw` stopped: realloc return: beyond end of memory");
    let calling = [call(INPUTS, &[ANSWER]), vec![Instruction::I32Const(4096)]].concat();
    assert_eq!(Trial::new(&params(calling), "raw").failure(), "proc `raw` stopped: cannot leave component instance");
    works_normally();
}

#[test]
fn memories_are_counted_together() {
    let grow = |memory| vec![Instruction::I32Const(300), Instruction::MemoryGrow(memory), Instruction::Drop];
    let run = [grow(0), grow(1), vec![Instruction::Unreachable]].concat();
    let bytes = Raw { run, memories: vec![10], ..Raw::default() }.component();
    let text = Trial::new(&bytes, "raw").limit("guest_memory_bytes", 32 << 20).failure();
    assert_eq!(
        text,
        "limit `guest_memory_bytes`: 40108032 bytes asked, 33554432 bytes allowed; \
         raise it for one run with --limit guest_memory_bytes=N"
    );
    // Two and ten pages are there before the guest does anything.
    let text = Trial::new(&bytes, "raw").limit("guest_memory_bytes", (12 << 16) - 1).failure();
    assert_eq!(
        text,
        "limit `guest_memory_bytes`: 786432 bytes asked, 786431 bytes allowed; \
         raise it for one run with --limit guest_memory_bytes=N"
    );
    assert_eq!(
        refusal(&Raw { memories: vec![1, 1], ..Raw::default() }),
        "raw.wasm is not a usable component: no instance of it can be made: \
         defined memories count of 3 exceeds the per-instance limit of 2"
    );
}

#[test]
fn a_table_bomb_meets_the_limit_by_name() {
    let grown = vec![
        Instruction::Loop(BlockType::Empty),
        Instruction::RefNull(wasm_encoder::HeapType::FUNC),
        Instruction::I32Const(1000),
        Instruction::TableGrow(0),
        Instruction::I32Const(-1),
        Instruction::I32Ne,
        Instruction::BrIf(0),
        Instruction::End,
        Instruction::Unreachable,
    ];
    assert_eq!(
        failure(grown),
        "limit `table_elements`: 100007 elements asked, 100000 elements allowed; \
         raise it for one run with --limit table_elements=N"
    );
    assert_eq!(
        refusal(&Raw { table: 2_000_000, ..Raw::default() }),
        "raw.wasm is not a usable component: no instance of it can be made: \
         table index 0 has a minimum element size of 2000000 which exceeds the limit of 1000000"
    );
}

#[test]
fn what_happens_before_the_entry_is_bounded_too() {
    let starting = |start| refusal(&Raw { start: Some(start), ..Raw::default() });
    assert_eq!(starting(forever()), "raw.wasm is not a usable component: `describe` takes longer than 500 ms");
    assert_eq!(
        starting(vec![Instruction::Unreachable]),
        "raw.wasm is not a usable component: `describe` stopped: it aborted"
    );
}

#[test]
fn a_component_that_takes_long_to_compile_meets_the_limit_by_name() {
    let deep = [vec![Instruction::Block(BlockType::Empty); 500], vec![Instruction::End; 500]].concat();
    let bytes = Raw { ballast: (20_000, deep), ..Raw::default() }.component();
    let limits = Limits { compile_cpu_ms: 200, ..Limits::default() };
    let refused = inspect(Engine::get().unwrap(), "raw.wasm", &bytes, &limits, None).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with("limit `compile_cpu_ms`: ")
            && text.contains(" ms asked, 200 ms allowed; raise it with --limit"),
        "{text}"
    );
    works_normally();
}

fn at(offset: u64) -> wasm_encoder::MemArg {
    wasm_encoder::MemArg { offset, align: 0, memory_index: 0 }
}
