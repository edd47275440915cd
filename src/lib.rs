//! The server.

mod bridge;
pub mod config;
pub mod http;
pub mod media;
pub mod metrics;
pub mod realtime;
pub mod store;
