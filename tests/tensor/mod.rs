//! The tensor layer.
