//! The loops of elementwise operations over one block of contiguous elements.

use half::{bf16, f16};

use super::Elementwise;
use crate::base::DType;
use crate::tensor::element::{Bool, Convert, Element, Number, Real, with_dtype};
use crate::tensor::simd::simd;

/// One block of one operation.
pub(super) struct Piece {
    /// Operands of `len` elements; null beyond those the operation has.
    pub(super) args: [*const u8; 3],
    /// The result of `len` elements, apart from the operands.
    pub(super) out: *mut u8,
    pub(super) len: usize,
    /// Position of the block's first element in the result.
    pub(super) start: usize,
    pub(super) scalars: [f64; 2],
}

impl Piece {
    /// Operand `i`.
    ///
    /// # Safety
    /// It points at `len` elements of type `T` that nobody writes.
    #[inline(always)]
    unsafe fn arg<T>(&self, i: usize) -> &[T] {
        // SAFETY: upheld by the caller.
        unsafe { std::slice::from_raw_parts(self.args[i].cast(), self.len) }
    }

    /// The result.
    ///
    /// # Safety
    /// It points at `len` elements of type `T` that nobody else touches.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "a piece is used by one thread, once")]
    unsafe fn out<T>(&self) -> &mut [T] {
        // SAFETY: upheld by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.out.cast(), self.len) }
    }
}

/// Executes `op` on a block whose operands have type `from` and result type `to`.
///
/// # Safety
/// The pointers of `piece` are as its fields say, for these types.
pub(super) unsafe fn run(op: Elementwise, from: DType, to: DType, piece: &Piece) {
    // SAFETY: types were matched here; pointers are the caller's promise.
    unsafe {
        match op {
            Elementwise::Cast => with_dtype!(any from, A => cast_from::<A>(to, piece)),
            Elementwise::Where => with_dtype!(any to, T => select::<T>(piece)),
            Elementwise::Equal | Elementwise::Less | Elementwise::LessEqual => {
                with_dtype!(any from, T => compare::<T>(op, piece));
            }
            Elementwise::Full | Elementwise::Range | Elementwise::Broadcast => {
                with_dtype!(any to, T => general::<T>(op, piece));
            }
            _ => {
                let ran = with_dtype!(float to, T => { real::<T>(op, piece); true }, |_| false);
                if !ran {
                    with_dtype!(any to, T => whole::<T>(op, piece));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn unary<T: Element>(piece: &Piece, f: impl Fn(T::Work) -> T::Work) {
    // SAFETY: `run` matched the types; pointers are the caller's promise.
    let (a, out) = unsafe { (piece.arg::<T>(0), piece.out::<T>()) };
    for (y, x) in out.iter_mut().zip(a) {
        *y = T::narrow(f(x.widen()));
    }
}

#[inline(always)]
unsafe fn binary<T: Element>(piece: &Piece, f: impl Fn(T::Work, T::Work) -> T::Work) {
    // SAFETY: as in `unary`.
    let (a, b, out) = unsafe { (piece.arg::<T>(0), piece.arg::<T>(1), piece.out::<T>()) };
    for ((y, a), b) in out.iter_mut().zip(a).zip(b) {
        *y = T::narrow(f(a.widen(), b.widen()));
    }
}

/// Operations that integers have too.
#[inline(always)]
unsafe fn arithmetic<T: Element>(op: Elementwise, piece: &Piece) -> bool {
    let zero = T::Work::default();
    // SAFETY: as in `unary`.
    unsafe {
        match op {
            Elementwise::Add => binary::<T>(piece, |a, b| a.plus(b)),
            Elementwise::Sub => binary::<T>(piece, |a, b| a.minus(b)),
            Elementwise::Mul => binary::<T>(piece, |a, b| a.times(b)),
            Elementwise::Maximum => binary::<T>(piece, |a, b| if a > b || a.is_nan() { a } else { b }),
            Elementwise::Minimum => binary::<T>(piece, |a, b| if a < b || a.is_nan() { a } else { b }),
            Elementwise::Relu => unary::<T>(piece, |x| if x < zero { zero } else { x }),
            Elementwise::ReluGrad => binary::<T>(piece, |dy, y| if y > zero { dy } else { zero }),
            _ => return false,
        }
    }
    true
}

simd! {
    /// Operations on floats.
    unsafe fn real[T] where [T: Element, T::Work: Real] (op: Elementwise, piece: &Piece) {
        if arithmetic::<T>(op, piece) {
            return;
        }
        let one = <T::Work as Number>::ONE;
        let [s0, s1] = piece.scalars.map(<T::Work as Number>::from_f64);
        match op {
            Elementwise::Affine => unary::<T>(piece, |x| x.times(s0).plus(s1)),
            Elementwise::Power if piece.scalars[0] == 2.0 => unary::<T>(piece, |x| x.times(x)),
            Elementwise::Power => unary::<T>(piece, |x| x.powf(s0)),
            Elementwise::Div => binary::<T>(piece, |a, b| a.over(b)),
            Elementwise::Pow => binary::<T>(piece, |a, b| a.powf(b)),
            Elementwise::Sigmoid => unary::<T>(piece, |x| x.sigmoid()),
            Elementwise::Tanh => unary::<T>(piece, |x| x.tanh()),
            Elementwise::Exp => unary::<T>(piece, |x| x.exp()),
            Elementwise::Log => unary::<T>(piece, |x| x.ln()),
            Elementwise::Sqrt => unary::<T>(piece, |x| x.sqrt()),
            Elementwise::SigmoidGrad => binary::<T>(piece, |dy, y| dy.times(y).times(one.minus(y))),
            Elementwise::TanhGrad => binary::<T>(piece, |dy, y| dy.times(one.minus(y.times(y)))),
            _ => {}
        }
    }
}

simd! {
    /// Operations on integers.
    unsafe fn whole[T] where [T: Element] (op: Elementwise, piece: &Piece) {
        if !arithmetic::<T>(op, piece) && op == Elementwise::Affine {
            let [s0, s1] = piece.scalars;
            unary::<T>(piece, |x| <T::Work as Number>::from_f64(x.to_f64() * s0 + s1));
        }
    }
}

simd! {
    /// Operations on any type.
    unsafe fn general[T] where [T: Element] (op: Elementwise, piece: &Piece) {
        let [s0, s1] = piece.scalars;
        let out = piece.out::<T>();
        match op {
            Elementwise::Full => out.fill(T::narrow(<T::Work as Number>::from_f64(s0))),
            Elementwise::Range => {
                for (i, y) in out.iter_mut().enumerate() {
                    *y = T::narrow(<T::Work as Number>::from_f64(s0 + (piece.start + i) as f64 * s1));
                }
            }
            _ => out.copy_from_slice(piece.arg::<T>(0)),
        }
    }
}

simd! {
    /// Comparisons.
    unsafe fn compare[T] where [T: Element] (op: Elementwise, piece: &Piece) {
        let (a, b, out) = (piece.arg::<T>(0), piece.arg::<T>(1), piece.out::<Bool>());
        let pairs = out.iter_mut().zip(a).zip(b);
        match op {
            Elementwise::Equal => pairs.for_each(|((y, a), b)| *y = Bool(u8::from(a.widen() == b.widen()))),
            Elementwise::Less => pairs.for_each(|((y, a), b)| *y = Bool(u8::from(a.widen() < b.widen()))),
            _ => pairs.for_each(|((y, a), b)| *y = Bool(u8::from(a.widen() <= b.widen()))),
        }
    }
}

simd! {
    /// `where`.
    unsafe fn select[T] where [T: Element] (piece: &Piece) {
        let (condition, out) = (piece.arg::<Bool>(0), piece.out::<T>());
        for (((y, c), yes), no) in out.iter_mut().zip(condition).zip(piece.arg::<T>(1)).zip(piece.arg::<T>(2)) {
            *y = if c.0 != 0 { *yes } else { *no };
        }
    }
}

simd! {
    /// `cast`.
    unsafe fn cast[A, B] where [A: Element + Convert<B>, B: Element] (piece: &Piece) {
        for (y, x) in piece.out::<B>().iter_mut().zip(piece.arg::<A>(0)) {
            *y = x.convert();
        }
    }
}

/// `cast` with the first type known.
unsafe fn cast_from<A>(to: DType, piece: &Piece)
where
    A: Element + Convert<Bool> + Convert<f16> + Convert<bf16> + Convert<f32> + Convert<f64>,
    A: Convert<i8> + Convert<i16> + Convert<i32> + Convert<i64>,
    A: Convert<u8> + Convert<u16> + Convert<u32> + Convert<u64>,
{
    // SAFETY: as in `run`.
    unsafe { with_dtype!(any to, B => cast::<A, B>(piece)) }
}
