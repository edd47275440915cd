//! The realtime core of redred: sessions, channels, live streams, comments and their moderation, as one state machine
//! without I/O, clock or threads.
//!
//! # Contract
//!
//! A [`Hub`] is told what happened by `handle_*`, says what to do by [`Hub::poll_output`], and when to come back by
//! [`Hub::poll_timeout`]. One `handle_*`, then drain `poll_output` to `None`, then the next. The shell carries outputs out in
//! order and decides nothing.
//!
//! - Time is an argument ([`Now`]); every id and token comes from the seed given to [`Hub::new`].
//! - Each [`Output::Store`] is answered once by [`Hub::handle_store`], each request by exactly one [`Output::Reply`].
//! - Each [`Output::Publish`] comes back by [`Hub::handle_published`], in order for each channel.
//! - Each [`Output::Write`] is answered by [`Hub::handle_written`]; until then no other follows for that session.
//! - No input from the network panics, and every queue and table is bounded by [`Config`].
//!
//! # Words
//!
//! A *session* is one client, resumable across sockets. A *channel* is a named, ordered stream of messages, each with a
//! `seq` within an *epoch*. A *peer* is one WebRTC connection. A *run* is one broadcast of a stream. *Staff* are the
//! streamer and moderators.
#![warn(missing_docs)]

pub mod api;
pub mod broker;
pub mod close;
pub mod codec;
pub mod config;
pub mod envelope;
pub mod error;
pub mod grants;
pub mod history;
pub mod hub;
pub mod id;
pub mod media;
pub mod message;
pub mod outbox;
pub mod rate_limit;
pub mod stats;
pub mod store;
pub mod time;

#[cfg(feature = "sim")]
pub mod sim;

#[cfg(feature = "schema")]
mod schema;

mod channel;
mod chat;
mod context;
mod directory;
mod live;
mod moderation;
mod notifications;
mod peers;
mod people;
mod presence;
mod quota;
mod session;
mod sessions;
mod timer;

/// The AsyncAPI document of everything said over a WebSocket, generated from the types of [`message`].
pub const ASYNCAPI: &str = include_str!("../asyncapi.json");

pub use broker::{Audience, Publication};
pub use close::CloseCode;
pub use config::Config;
pub use error::{Error, ErrorCode};
pub use grants::{Caller, Grants, Scope, User};
pub use hub::{Connect, Departure, Hub, Output, Reason, VerifyError};
pub use id::{Channel, RequestId, RoomId, SessionId, StreamName, UserId};
pub use media::{MediaId, MediaIntent, MediaReply};
pub use store::{StoreId, StoreOk, StoreOp, StoreReply, StoreRequest};
pub use time::Now;
