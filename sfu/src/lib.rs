//! The media core of redred: a selective forwarding unit that does no I/O and reads no clock.
//!
//! A [`Shard`] holds the WebRTC connections of one worker and forwards what publishers send to those who watch. It is
//! a state machine: the shell tells it what happened, with the time, and carries out what it answers.
//!
//! # Contract
//!
//! One *turn* is any number of `handle_*` calls with the same `now`, then [`Shard::poll_output`] until it returns
//! `None`, then [`Shard::datagrams`] are sent and cleared, then [`Shard::poll_timeout`]. Packets to viewers lie there
//! sealed, those to other shards leave at the end of the turn, so a shell that hands over all datagrams of one `recvmmsg`
//! before it polls gets them back in batches. A shell that polls after every call gets the same packets, only less densely.
//!
//! After the last output was carried out, [`Shard::handle_sent`] tells the core when that was.
//!
//! # Glossary
//!
//! - A **peer** is one WebRTC connection; it publishes or watches.
//! - A **stream** is what one publisher publishes and many viewers watch. It lives in its *home* shard; another shard with
//!   viewers *follows* it, see [`relay`].
//! - A **track** is published once, in one or more **layers** (simulcast). A layer's **slot** is its number, its *rung*
//!   its place in the order of quality, see [`layer`].
//! - A **line** is an m-line of a viewer: one SSRC, behind which tracks come and go.
//! - A **source** is one run of ingress sequence numbers, see [`forward::packet::SourceId`].
//!
//! # Invariants
//!
//! - Nothing here reads a clock, opens a socket, starts a thread or takes a lock. (The DTLS configuration is built once for
//!   the process, by whoever needs it first.)
//! - Nothing but `peer.rs` and `peer/negotiation.rs` touches an `Rtc`.
//! - No egress sequence number is given out twice, and none begins above 65 535.
//! - No packet is logged; nothing is allocated per packet and viewer.
//! - What str0m seals for a viewer never leaves: the keys are used here, and here only.
//! - Every map and queue is bounded by [`Config`], by the number of peers, or by the datagrams of one turn.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests take one instant as the base of their time"
    )
)]

mod clock;
pub mod config;
mod datagrams;
mod demux;
mod dtls;
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
pub use datagrams::{Datagram, Datagrams};
pub use event::{Command, Event, Output, Reason};
pub use shard::Shard;
