//! Host memory that the device copies from and to by itself. Bytes on their way
//! to the device are copied here first, so that nobody waits for the stream;
//! pieces are used in turn, and one is filled again when all that was in it has
//! arrived.

use std::ptr::NonNull;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::gpu::Gpu;
use crate::base::{Error, Result};

/// Size of a piece.
const PIECE_BYTES: usize = 4 << 20;

/// How many there are; they are made when they are needed.
const PIECES: usize = 3;

/// Where bytes begin in a piece.
const ALIGNMENT_BYTES: usize = 64;

/// The pieces of one device.
#[derive(Default)]
pub(super) struct Staging {
    pieces: Vec<Piece>,
    current: usize,
}

/// A piece of host memory whose pages stay where they are.
struct Piece {
    start: NonNull<u8>,
    /// After the last copy from it.
    emptied: sys::CUevent,
    used_bytes: usize,
}

impl Staging {
    /// Copies `bytes` to the device.
    pub(super) fn upload(&mut self, gpu: &Gpu, bytes: &[u8], to: u64) -> Result<()> {
        let mut to = to;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.with_room(gpu, rest.len().min(PIECE_BYTES))?;
            let (part, others) = rest.split_at(rest.len().min(PIECE_BYTES - piece.used_bytes));
            // SAFETY: the part fits into what is left of the piece, from which the
            // device does not copy now.
            let staged = unsafe {
                let at = piece.start.as_ptr().add(piece.used_bytes);
                std::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                std::slice::from_raw_parts(at, part.len())
            };
            piece.used_bytes = (piece.used_bytes + part.len()).next_multiple_of(ALIGNMENT_BYTES);
            // SAFETY: the piece is not written to before the event has passed; the
            // driver checks the device's range.
            unsafe {
                gpu.told("cuMemcpyHtoDAsync", result::memcpy_htod_async(to, staged, gpu.stream))?;
                gpu.told("cuEventRecord", result::event::record(piece.emptied, gpu.stream))?;
            }
            to += part.len() as u64;
            rest = others;
        }
        Ok(())
    }

    /// Copies from the device, and waits for it. What the driver took is added to
    /// `sent_bytes`, also where waiting for it fails.
    pub(super) fn download(&mut self, gpu: &Gpu, from: u64, into: &mut [u8], sent_bytes: &mut u64) -> Result<()> {
        let mut from = from;
        for part in into.chunks_mut(PIECE_BYTES) {
            let piece = self.with_room(gpu, part.len())?;
            // SAFETY: the device copies neither to nor from this part now, and the
            // copy is over before it is read.
            unsafe {
                let at = piece.start.as_ptr().add(piece.used_bytes);
                let staged = std::slice::from_raw_parts_mut(at, part.len());
                // Where waiting fails the copy may come later: nobody else gets its place.
                piece.used_bytes = (piece.used_bytes + part.len()).next_multiple_of(ALIGNMENT_BYTES);
                gpu.told("cuMemcpyDtoHAsync", result::memcpy_dtoh_async(staged, from, gpu.stream))?;
                *sent_bytes += part.len() as u64;
                gpu.told("cuEventRecord", result::event::record(piece.emptied, gpu.stream))?;
                gpu.told("cuStreamSynchronize", result::stream::synchronize(gpu.stream))?;
                part.copy_from_slice(staged);
            }
            // Nothing is on the stream any more.
            self.pieces.iter_mut().for_each(|piece| piece.used_bytes = 0);
            from += part.len() as u64;
        }
        Ok(())
    }

    /// The piece in use when `size_bytes` more fit, else the next one, emptied.
    fn with_room(&mut self, gpu: &Gpu, size_bytes: usize) -> Result<&mut Piece> {
        let fits = |piece: &Piece| piece.used_bytes + size_bytes <= PIECE_BYTES;
        if !self.pieces.get(self.current).is_some_and(fits) {
            if self.pieces.len() < PIECES {
                self.current = self.pieces.len();
                self.pieces.push(Piece::new(gpu)?);
            } else {
                self.current = (self.current + 1) % PIECES;
                if let Some(piece) = self.pieces.get_mut(self.current) {
                    // SAFETY: an event of this device.
                    gpu.told("cuEventSynchronize", unsafe { result::event::synchronize(piece.emptied) })?;
                    piece.used_bytes = 0;
                }
            }
        }
        self.pieces.get_mut(self.current).ok_or_else(|| Error::Internal("a staging piece that was just made".into()))
    }

    /// Gives all back; the device uses nothing of it.
    pub(super) fn close(self) {
        for piece in self.pieces {
            // SAFETY: made by `Piece::new`, and not used any more.
            unsafe {
                let _ = result::event::destroy(piece.emptied);
                let _ = result::free_host(piece.start.as_ptr().cast());
            }
        }
    }
}

impl Piece {
    fn new(gpu: &Gpu) -> Result<Self> {
        // Not write-combined: downloads are read from it.
        // SAFETY: given back by `Staging::close`, or with the context.
        let start = gpu.told("cuMemHostAlloc", unsafe { result::malloc_host(PIECE_BYTES, 0) })?;
        let start =
            NonNull::new(start.cast::<u8>()).ok_or_else(|| Error::Internal("host memory at address 0".into()))?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let emptied = gpu.told("cuEventCreate", result::event::create(flags)).inspect_err(|_| {
            // SAFETY: just made, and used by nobody.
            let _ = unsafe { result::free_host(start.as_ptr().cast()) };
        })?;
        Ok(Self { start, emptied, used_bytes: 0 })
    }
}
