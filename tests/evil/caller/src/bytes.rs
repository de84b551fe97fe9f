//! A sequence of bytes read as numbers, mostly small and sometimes extreme.

use quern_udf::bindings::quern::udf::types::Dtype;

/// Element types, the usual ones more often.
const TYPES: [Dtype; 16] = [
    Dtype::Float32,
    Dtype::Float32,
    Dtype::Float32,
    Dtype::Float64,
    Dtype::Int64,
    Dtype::Int32,
    Dtype::Boolean,
    Dtype::Int8,
    Dtype::Int16,
    Dtype::Uint8,
    Dtype::Uint16,
    Dtype::Uint32,
    Dtype::Uint64,
    Dtype::Float16,
    Dtype::Bfloat16,
    Dtype::Float32,
];

/// What is left of a sequence.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; zeros at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn dtype(&mut self) -> Dtype {
        TYPES[usize::from(self.byte() % 16)]
    }

    /// An extent, mostly one that fits others; now and then out of all proportion.
    pub(crate) fn extent(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => 1 << 31,
            253 => 1 << 12,
            byte => [1, 2, 3, 2, 3, 3, 2, 0, 7, 3][usize::from(byte % 10)],
        }
    }

    pub(crate) fn shape(&mut self) -> Vec<u32> {
        let rank = match self.byte() {
            255 => 9,
            254 => 40,
            byte => usize::from(byte % 4),
        };
        (0..rank).map(|_| self.extent()).collect()
    }

    pub(crate) fn axis(&mut self) -> i32 {
        match self.byte() {
            255 => i32::MIN,
            254 => i32::MAX,
            byte => i32::from(byte % 8) - 4,
        }
    }

    /// A row or a number of rows.
    pub(crate) fn row(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 63,
            253 => 1 << 40,
            byte => u64::from(byte % 12),
        }
    }

    pub(crate) fn number(&mut self) -> f64 {
        match self.byte() {
            255 => f64::NAN,
            254 => f64::INFINITY,
            253 => -1e300,
            252 => -0.0,
            byte => f64::from(byte) / 16.0 - 4.0,
        }
    }

    /// So many bytes of its own.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// A name that may exist.
    pub(crate) fn name(&mut self) -> String {
        const NAMES: [&str; 10] = ["id", "flag", "text", "n", "word", "x", "w", "'; drop table t", "\u{7}", ""];
        let at = self.byte();
        NAMES.get(usize::from(at)).map_or_else(|| "y".repeat(usize::from(at)), |name| (*name).to_owned())
    }

    /// A place in a list of `len`.
    pub(crate) fn pick(&mut self, len: usize) -> usize {
        usize::from(self.byte()) % len.max(1)
    }
}
