//! The media core of redred: a selective forwarding unit that does no I/O and reads no clock.
//!
//! A [`Shard`] holds the WebRTC connections of one worker and forwards what publishers send to those who watch. It is
//! a state machine: the shell tells it what happened, with the time, and carries out what it answers.
//!
//! # Contract
//!
//! One *turn* is any number of `handle_*` calls with the same `now`, then [`Shard::poll_output`] until it returns
//! `None`, then [`Shard::poll_timeout`]. Packets to viewers and to other shards leave at the end of the turn, so a
//! shell that hands over all datagrams of one `recvmmsg` before it polls gets them back in batches. A shell that polls
//! after every call gets the same packets, only less densely.
//!
//! After the last output was carried out, [`Shard::handle_sent`] tells the core when that was.

#![warn(missing_docs)]

pub mod config;
mod demux;
mod egress;
pub mod error;
pub mod event;
pub mod forward;
pub mod id;
pub mod layer;
mod peer;
mod publisher;
pub mod relay;
mod shard;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stats;
mod stream;
mod subscriber;
mod timer;
mod track;

pub use config::{Config, Identity};
pub use event::{Command, Event, Output, Reason};
pub use shard::Shard;
