//! Memory and tables of instances come from a pool: what one instance wrote there
//! no later one sees.

use std::time::Duration;

use quern::device::KillSwitch;
use wasm_encoder::{BlockType, Instruction, MemArg};

use super::raw::{ANSWER, NAME, Raw, SET_RESULT, call, forever};
use crate::support::instance::Trial;

/// Instances at one time: more than the pool keeps ready with their pages, so that
/// also places that gave their pages back are used anew.
const INSTANCES: usize = 24;
/// Pages of the first memory, as it is given and then added.
const PAGES: (i32, i32) = (2, 40);
/// Pages of the second.
const SECOND: i32 = 20;
/// Elements of the table.
const ELEMENTS: i32 = 6000;
/// The function `run`, which is exported and can stand in tables.
const RUN: u32 = 7;
/// Where memory begins that nobody else writes to: the name of the proc comes below.
const FREE: i32 = 8192;

fn grow() -> Vec<Instruction<'static>> {
    vec![Instruction::I32Const(PAGES.1), Instruction::MemoryGrow(0), Instruction::Drop]
}

/// Tells that it is done, and waits for its end.
fn told_and_waiting() -> Vec<Instruction<'static>> {
    [call(SET_RESULT, &[NAME, 3, NAME, 3, ANSWER]), forever(), vec![Instruction::I32Const(ANSWER)]].concat()
}

fn component(body: Vec<Instruction<'static>>) -> Vec<u8> {
    let run = [grow(), body, told_and_waiting()].concat();
    let table = u64::try_from(ELEMENTS).unwrap();
    Raw { run, table, memories: vec![u64::try_from(SECOND).unwrap()], ..Raw::default() }.component()
}

/// Writes to all of its memories and tables.
fn writes() -> Vec<u8> {
    let fill = |memory, start: i32, pages: i32| {
        let fill = Instruction::MemoryFill(memory);
        [Instruction::I32Const(start), Instruction::I32Const(0xa5), Instruction::I32Const(pages * 65536 - start), fill]
    };
    let functions = [
        Instruction::I32Const(0),
        Instruction::RefFunc(RUN),
        Instruction::I32Const(ELEMENTS),
        Instruction::TableFill(0),
    ];
    component([fill(0, FREE, PAGES.0 + PAGES.1), fill(1, 0, SECOND), functions].concat())
}

/// Aborts at the first byte and the first element that is not as it was made.
fn looks() -> Vec<u8> {
    let each = |start: i32, end: i32, step: i32, found: Vec<Instruction<'static>>| {
        let begin = [Instruction::I32Const(start), Instruction::LocalSet(2), Instruction::Loop(BlockType::Empty)];
        let abort = [Instruction::If(BlockType::Empty), Instruction::Unreachable, Instruction::End];
        let next = [
            Instruction::LocalGet(2),
            Instruction::I32Const(step),
            Instruction::I32Add,
            Instruction::LocalTee(2),
            Instruction::I32Const(end),
            Instruction::I32LtU,
            Instruction::BrIf(0),
            Instruction::End,
        ];
        [begin.to_vec(), found, abort.to_vec(), next.to_vec()].concat()
    };
    let load = |memory_index| {
        vec![Instruction::LocalGet(2), Instruction::I32Load(MemArg { offset: 0, align: 2, memory_index })]
    };
    let element = vec![Instruction::LocalGet(2), Instruction::TableGet(0), Instruction::RefIsNull, Instruction::I32Eqz];
    let memories = [each(FREE, (PAGES.0 + PAGES.1) * 65536, 4, load(0)), each(0, SECOND * 65536, 4, load(1))].concat();
    component([memories, each(0, ELEMENTS, 1, element)].concat())
}

/// Lets so many instances exist at once until all have said that they are done.
fn together(bytes: &[u8]) {
    let trials: Vec<Trial> = (0..INSTANCES).map(|_| Trial::new(bytes, "raw")).collect();
    std::thread::scope(|threads| {
        let ends: Vec<_> = trials.iter().map(|trial| threads.spawn(|| trial.failure())).collect();
        while trials.iter().zip(&ends).any(|(trial, end)| trial.results().is_empty() && !end.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        trials.iter().map(|trial| &trial.kill).for_each(|kill: &KillSwitch| kill.kill("the test".to_owned()));
        for end in ends {
            assert_eq!(end.join().unwrap(), "the run was killed by the test");
        }
    });
}

#[test]
fn no_instance_sees_what_another_left_in_memories_and_tables() {
    let (secrets, later) = (writes(), looks());
    for _ in 0..2 {
        together(&secrets);
        together(&later);
    }
}
