//! The media core.
pub mod event;
pub mod id;
pub mod relay;
