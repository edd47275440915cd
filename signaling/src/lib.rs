//! The realtime core.
pub mod id;
pub mod media;
