//! Sessions, numbers and arrays for these tests.

use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use quern::base::{DType, Limits};
use quern::device::{Device, KillSwitch, Quota};
use quern::tensor::{Executor, Mode, Session, Settings, Teller, Tensor};

/// The processor, with two threads.
pub(crate) fn processor() -> &'static Arc<Executor> {
    static EXECUTOR: OnceLock<Arc<Executor>> = OnceLock::new();
    EXECUTOR.get_or_init(|| Executor::new(Device::cpu(2, 1 << 30)))
}

/// The executor that tests are about.
pub(crate) fn executor() -> &'static Arc<Executor> {
    CHOSEN.get().unwrap_or_else(|| processor())
}

/// What [`begin_on`] chose.
static CHOSEN: OnceLock<Arc<Executor>> = OnceLock::new();

/// Lets the tests of this process be about another device.
pub(crate) fn begin_on(device: Device) {
    assert!(CHOSEN.set(Executor::new(device)).is_ok(), "a device was chosen before");
}

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings {
        quota: Quota::new(1 << 30),
        kill: KillSwitch::new(),
        limits: Limits::default(),
        seed: 7,
        stream: 0,
        mode,
        teller: Teller::default(),
    }
}

pub(crate) fn session(mode: Mode) -> Session {
    Session::new(executor(), settings(mode))
}

/// An array of doubles: what the reference computes with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    pub(crate) fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// Calls `f` with the multi-index of every element.
    pub(crate) fn build(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let n: usize = shape.iter().product();
        let data = (0..n).map(|flat| f(&unravel(flat, shape))).collect();
        Self { shape: shape.to_vec(), data }
    }

    /// The element at an index of an array that this one broadcasts to.
    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        let missing = index.len() - self.shape.len();
        let flat =
            self.shape.iter().zip(&index[missing..]).fold(0, |flat, (n, i)| flat * n + if *n == 1 { 0 } else { *i });
        self.data[flat]
    }

    pub(crate) fn tensor(&self, session: &mut Session, dtype: DType) -> Tensor {
        session.from_bytes(dtype, &self.shape, &encode(dtype, &self.data)).unwrap()
    }

    /// The value of a tensor.
    pub(crate) fn of(session: &mut Session, tensor: &Tensor) -> Self {
        let bytes = session.read(tensor).unwrap();
        Self::new(tensor.shape(), decode(tensor.dtype(), &bytes))
    }

    /// As it is after a trip through `dtype`.
    pub(crate) fn rounded(&self, dtype: DType) -> Self {
        Self { shape: self.shape.clone(), data: decode(dtype, &encode(dtype, &self.data)) }
    }
}

pub(crate) fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for i in (0..shape.len()).rev() {
        index[i] = flat % shape[i];
        flat /= shape[i];
    }
    index
}

/// Packs numbers as elements of a type.
pub(crate) fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let pack = |x: f64| -> Vec<u8> {
        match dtype {
            DType::Bool => vec![u8::from(x != 0.0)],
            DType::I8 => (x as i8).to_le_bytes().to_vec(),
            DType::I16 => (x as i16).to_le_bytes().to_vec(),
            DType::I32 => (x as i32).to_le_bytes().to_vec(),
            DType::I64 => (x as i64).to_le_bytes().to_vec(),
            DType::U8 => (x as u8).to_le_bytes().to_vec(),
            DType::U16 => (x as u16).to_le_bytes().to_vec(),
            DType::U32 => (x as u32).to_le_bytes().to_vec(),
            DType::U64 => (x as u64).to_le_bytes().to_vec(),
            DType::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f64(x).to_le_bytes().to_vec(),
            DType::F32 => (x as f32).to_le_bytes().to_vec(),
            DType::F64 => x.to_le_bytes().to_vec(),
        }
    };
    values.iter().flat_map(|x| pack(*x)).collect()
}

/// Unpacks elements of a type.
pub(crate) fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let unpack = |b: &[u8]| -> f64 {
        match dtype {
            DType::Bool | DType::U8 => f64::from(b[0]),
            DType::I8 => f64::from(b[0] as i8),
            DType::I16 => f64::from(i16::from_le_bytes(b.try_into().unwrap())),
            DType::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
            DType::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
            DType::U16 => f64::from(u16::from_le_bytes(b.try_into().unwrap())),
            DType::U32 => f64::from(u32::from_le_bytes(b.try_into().unwrap())),
            DType::U64 => u64::from_le_bytes(b.try_into().unwrap()) as f64,
            DType::F16 => f16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            DType::BF16 => bf16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            DType::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
        }
    };
    bytes.chunks(dtype.size_bytes()).map(unpack).collect()
}

/// A small generator of numbers, so that tests are the same every time.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    /// Uniform in [−2, 2).
    pub(crate) fn float(&mut self) -> f64 {
        self.below(1 << 24) as f64 / f64::from(1 << 22) - 2.0
    }

    pub(crate) fn array(&mut self, shape: &[usize]) -> Array {
        Array::build(shape, |_| self.float())
    }
}

/// Asserts that two arrays agree within `tolerance`, relative to the larger of the
/// element and 1.
pub(crate) fn assert_close(got: &Array, wanted: &Array, tolerance: f64, what: &str) {
    assert_eq!(got.shape, wanted.shape, "{what}: shape");
    for (i, (g, w)) in got.data.iter().zip(&wanted.data).enumerate() {
        let near = (g - w).abs() <= tolerance * w.abs().max(1.0) || (g.is_nan() && w.is_nan()) || g == w;
        assert!(near, "{what}: element {:?} is {g}, should be {w}", unravel(i, &got.shape));
    }
}
