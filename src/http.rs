//! HTTP.

pub mod origin;
