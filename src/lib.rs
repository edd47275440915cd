#![doc = include_str!("../docs/ARCHITECTURE.md")]

pub mod auth;
mod bridge;
pub mod cli;
pub mod config;
pub mod http;
pub mod media;
pub mod metrics;
pub mod realtime;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod telemetry;
