//! Handles: tensors, which never change, and variables, which do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::shape::Shape;
use crate::base::DType;
use crate::device::{Block, Buffer, Charge};

/// A value. Cheap to clone; the value lives as long as a clone does.
#[derive(Clone, Debug)]
pub struct Tensor(pub(crate) Arc<Handle>);

impl Tensor {
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Extents; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.shape.elements()
    }

    /// Size of the value.
    pub fn size_bytes(&self) -> usize {
        self.0.shape.size_bytes(self.0.dtype)
    }
}

/// What stands behind a [`Tensor`].
#[derive(Debug)]
pub(crate) struct Handle {
    /// Unique in the session.
    pub(crate) id: u64,
    /// The session that made it.
    pub(crate) session: u64,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    place: Mutex<Place>,
    _held: Option<QuotaShare>,
}

/// What a value counts against the quota.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their ends")]
pub(crate) enum QuotaShare {
    /// Its own bytes.
    Own(Charge),
    /// A part of these.
    Shared(Arc<Charge>),
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Result of the program that is being recorded.
    Recorded(u32),
    /// In memory that nobody changes.
    Stored(Buffer),
    /// In a variable's own memory, as long as that is at `version`.
    Variable {
        /// The variable.
        cell: Arc<Cell>,
        /// Its version.
        version: u64,
    },
}

impl Handle {
    pub(crate) fn new(
        (session, id): (u64, u64),
        dtype: DType,
        shape: Shape,
        place: Place,
        held: Option<QuotaShare>,
    ) -> Arc<Self> {
        Arc::new(Self { id, session, dtype, shape, place: Mutex::new(place), _held: held })
    }

    pub(crate) fn place(&self) -> Place {
        self.lock().clone()
    }

    pub(crate) fn set_place(&self, place: Place) {
        *self.lock() = place;
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that optimisers and `assign` replace. Its memory stays where it is.
#[derive(Clone, Debug)]
pub struct Variable(pub(crate) Arc<Cell>);

impl Variable {
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Extents; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }
}

/// What stands behind a [`Variable`].
#[derive(Debug)]
pub(crate) struct Cell {
    /// Unique in the session.
    pub(crate) id: u64,
    /// The session that made it.
    pub(crate) session: u64,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) block: Arc<Block>,
    present: Mutex<Present>,
    _charge: Charge,
}

/// The newest recorded version of a variable and its handle, if anyone asked.
#[derive(Debug, Default)]
pub(crate) struct Present {
    pub(crate) version: u64,
    pub(crate) handle: Weak<Handle>,
}

impl Cell {
    pub(crate) fn new(
        (session, id): (u64, u64),
        dtype: DType,
        shape: Shape,
        block: Arc<Block>,
        charge: Charge,
    ) -> Arc<Self> {
        Arc::new(Self { id, session, dtype, shape, block, present: Mutex::default(), _charge: charge })
    }

    pub(crate) fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its memory as it is now.
    pub(crate) fn buffer(&self) -> Buffer {
        Buffer::of_block(self.block.clone(), self.shape.size_bytes(self.dtype))
    }
}
