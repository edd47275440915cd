//! What HTTP asks of the hub: WHIP and WHEP, the directory of streams, and who may open a WebSocket on a channel.
//!
//! The shell maps requests and replies one to one. Refusals are [`crate::Error`] with these HTTP meanings:
//! `invalid_field` 400, `forbidden` 403, `not_found` 404, `unsupported` 406, `conflict` 409, `precondition_failed` 412,
//! `too_large` 413, `precondition_required` 428, `rate_limited` 429, `unavailable` 503.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grants::User;
use crate::id::{Channel, StreamName};
use crate::media::Track;

/// One request over HTTP.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Whether the caller may open a WebSocket on a channel, asked before the upgrade so that a refusal is a status.
    /// Answered by [`Reply::Done`]. It reserves nothing: the session that follows is checked again.
    Admit {
        /// The channel of the path.
        channel: Channel,
    },
    /// POST of a WHIP offer (RFC 9725). Answered by [`Reply::Created`].
    WhipPublish {
        /// The stream to publish.
        stream: StreamName,
        /// SDP.
        offer: String,
    },
    /// POST of a WHEP offer (draft-ietf-wish-whep). Answered by [`Reply::Created`].
    WhepWatch {
        /// The stream to watch.
        stream: StreamName,
        /// SDP.
        offer: String,
        /// `Prefer: wait=N` (RFC 7240): how long to wait for a stream that is not live yet. Capped by the hub.
        wait: Option<Duration>,
    },
    /// PATCH of a resource: trickled candidates or an ICE restart. Answered by [`Reply::Patched`].
    Patch {
        /// The last segment of the Location.
        resource: String,
        /// Which endpoint it came to.
        kind: ResourceKind,
        /// The value of `If-Match`: an entity tag with or without quotes, or `*`.
        if_match: Option<String>,
        /// `application/trickle-ice-sdpfrag` (RFC 8840).
        fragment: String,
    },
    /// DELETE of a resource. A WHIP resource ends the stream. Answered by [`Reply::Done`].
    Delete {
        /// The last segment of the Location.
        resource: String,
        /// Which endpoint it came to.
        kind: ResourceKind,
    },
    /// Who is live, of the streams that the caller may watch. Answered by [`Reply::Streams`].
    ListStreams,
    /// One live stream. Answered by [`Reply::Stream`].
    GetStream {
        /// Which.
        stream: StreamName,
    },
    /// Ends a live stream; its streamer and admins may. Answered by [`Reply::Done`].
    EndStream {
        /// Which.
        stream: StreamName,
    },
}

/// Which endpoint a resource belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// `/whip/…`
    Whip,
    /// `/whep/…`
    Whep,
}

/// What HTTP is answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// 201.
    Created {
        /// 32 hex digits, the last segment of the Location.
        resource: String,
        /// The SDP answer.
        answer: String,
        /// The entity tag of the ICE session, without quotes.
        etag: String,
    },
    /// 204 without a fragment; 200 with the fragment and the new entity tag when ICE restarted.
    Patched {
        /// Our side of an ICE restart.
        fragment: Option<String>,
        /// The entity tag of the ICE session, without quotes.
        etag: String,
    },
    /// 200 or 204 with nothing to say.
    Done,
    /// Who is live, longest running first.
    Streams(Vec<StreamSummary>),
    /// One stream.
    Stream(StreamSummary),
}

/// A live stream, as the directory and `subscribed.state` show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Name of the stream.
    pub id: StreamName,
    /// What the streamer calls it.
    pub title: String,
    /// Up to 10.
    pub tags: Vec<String>,
    /// When media first flowed, RFC 3339 on the wire.
    #[serde(with = "crate::time::wire")]
    pub started_at: u64,
    /// Connections that watch.
    pub viewers: u64,
    /// What is published right now; empty while the publisher is away.
    pub tracks: Vec<Track>,
    /// Whose stream it is.
    pub streamer: User,
}
