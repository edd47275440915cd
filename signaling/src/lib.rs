//! The realtime core of redred: sessions, channels, live streams, comments and their moderation, as one state machine
//! without I/O, clock or threads.
#![warn(missing_docs)]

pub mod api;
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

mod channel;
mod context;
mod directory;
mod live;
mod moderation;
mod peers;
mod presence;
mod session;
mod sessions;
mod timer;

pub use close::CloseCode;
pub use config::Config;
pub use error::{Error, ErrorCode};
pub use grants::{Caller, Grants, Scope, User};
pub use hub::{Connect, Hub, Output, Reason, VerifyError};
pub use id::{Channel, RequestId, SessionId, StreamName, UserId};
pub use media::{MediaId, MediaIntent, MediaReply};
pub use store::{StoreId, StoreOk, StoreOp, StoreReply, StoreRequest};
pub use time::Now;
