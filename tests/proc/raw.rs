//! Components written by hand, instruction by instruction: what no compiler of
//! Rust would ever make.

use std::path::Path;

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, MemorySection, MemoryType, Module, RefType, StartSection, TableSection, TableType,
    TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Functions of the host that raw guests call, by index: name and flat parameters.
const IMPORTS: [(&str, &str, &[ValType]); 6] = [
    ("quern:udf/declare@0.1.0", "proc", &[ValType::I32; 7]),
    ("quern:udf/job@0.1.0", "set-result", &[ValType::I32; 5]),
    ("quern:udf/tables@0.1.0", "inputs", &[ValType::I32]),
    (
        "quern:udf/tensors@0.1.0",
        "[static]tensor.range",
        &[ValType::I32, ValType::F64, ValType::I32, ValType::F64, ValType::I32],
    ),
    ("quern:udf/tensors@0.1.0", "[method]tensor.shape", &[ValType::I32, ValType::I32]),
    ("quern:udf/tensors@0.1.0", "[static]tensor.from-bytes", &[ValType::I32; 6]),
];
/// `declare.proc(name, mode, doc, answer)`.
pub(super) const DECLARE_PROC: u32 = 0;
/// `job.set-result(name, value, answer)`.
pub(super) const SET_RESULT: u32 = 1;
/// `tables.inputs(answer)`.
pub(super) const INPUTS: u32 = 2;
/// `tensor.shape(tensor, answer)`.
pub(super) const SHAPE: u32 = 4;
/// `tensor.from-bytes(element, shape, data, answer)`.
pub(super) const FROM_BYTES: u32 = 5;

/// Where the text `raw` lies in memory.
pub(super) const NAME: i32 = 1024;
/// Where the text `nondistributed` lies.
pub(super) const MODE: i32 = 1200;
/// Room for answers of the host: zeros at first.
pub(super) const ANSWER: i32 = 2048;

/// A component of one proc `raw`.
pub(super) struct Raw {
    /// What `describe` does beside declaring the proc.
    pub(super) describe: Vec<Instruction<'static>>,
    /// What `run` does; it ends with the address of its answer on the stack.
    pub(super) run: Vec<Instruction<'static>>,
    /// What happens while it is instantiated.
    pub(super) start: Option<Vec<Instruction<'static>>>,
    /// What the guest's allocator does; it ends with an address on the stack.
    pub(super) realloc: Vec<Instruction<'static>>,
    /// Pages of further memories.
    pub(super) memories: Vec<u64>,
    /// Elements of its table.
    pub(super) table: u64,
    /// Text at [`NAME`], where it is another.
    pub(super) name: &'static [u8],
    /// Further functions of no use, and the instructions of each.
    pub(super) ballast: (usize, Vec<Instruction<'static>>),
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            describe: Vec::new(),
            run: vec![Instruction::I32Const(ANSWER)],
            start: None,
            realloc: vec![Instruction::I32Const(4096)],
            memories: Vec::new(),
            table: 1,
            name: b"raw",
            ballast: (0, Vec::new()),
        }
    }
}

impl Raw {
    /// Its bytes.
    pub(super) fn component(&self) -> Vec<u8> {
        let mut core = self.module();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("quern.wit", &wit()).unwrap();
        let world = resolve.select_world(&[package], Some("proc")).unwrap();
        wit_component::embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&core).unwrap().encode().unwrap()
    }

    fn module(&self) -> Vec<u8> {
        let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
        for (at, (interface, name, params)) in (0..).zip(IMPORTS) {
            types.ty().function(params.to_vec(), []);
            imports.import(interface, name, EntityType::Function(at));
        }
        let first = u32::try_from(IMPORTS.len()).unwrap();
        let (nothing, run, realloc) = (first, first + 1, first + 2);
        types.ty().function([], []);
        types.ty().function([ValType::I32; 2], [ValType::I32]);
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        let mut add = |kind: u32, body: &[Instruction<'static>]| {
            functions.function(kind);
            let mut function = Function::new([(2, ValType::I32)]);
            body.iter().for_each(|instruction| {
                function.instruction(instruction);
            });
            function.instruction(&Instruction::End);
            code.function(&function);
        };
        let declared = call(DECLARE_PROC, &[NAME, i32::try_from(self.name.len()).unwrap(), MODE, 14, 0, 0, ANSWER]);
        add(nothing, &[declared, self.describe.clone()].concat());
        add(run, &self.run);
        add(realloc, &self.realloc);
        add(nothing, self.start.as_deref().unwrap_or_default());
        (0..self.ballast.0).for_each(|_| add(nothing, &self.ballast.1));
        let mut memories = MemorySection::new();
        for minimum in std::iter::once(2).chain(self.memories.iter().copied()) {
            memories.memory(MemoryType {
                minimum,
                maximum: None,
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
        }
        let mut tables = TableSection::new();
        let element_type = RefType::FUNCREF;
        tables.table(TableType { element_type, minimum: self.table, maximum: None, table64: false, shared: false });
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("quern:udf/entry@0.1.0#describe", ExportKind::Func, first);
        exports.export("quern:udf/entry@0.1.0#run", ExportKind::Func, first + 1);
        exports.export("cabi_realloc", ExportKind::Func, first + 2);
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(NAME), self.name.iter().copied());
        data.active(0, &ConstExpr::i32_const(MODE), b"nondistributed".iter().copied());
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
        module.section(&exports);
        if self.start.is_some() {
            module.section(&StartSection { function_index: first + 3 });
        }
        module.section(&code).section(&data);
        module.finish()
    }
}

/// A call of a host function with these arguments.
pub(super) fn call(function: u32, arguments: &[i32]) -> Vec<Instruction<'static>> {
    let mut body: Vec<_> = arguments.iter().map(|value| Instruction::I32Const(*value)).collect();
    body.push(Instruction::Call(function));
    body
}

/// A loop that never ends.
pub(super) fn forever() -> Vec<Instruction<'static>> {
    vec![Instruction::Loop(wasm_encoder::BlockType::Empty), Instruction::Br(0), Instruction::End]
}

/// All of `wit/` as one text; the file with the package's name comes first.
fn wit() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("wit");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| (!path.ends_with("world.wit"), path.clone()));
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
