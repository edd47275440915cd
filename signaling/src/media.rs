//! What signaling asks of *some* media plane, and what it hears back.
//!
//! The hub decides who may publish and watch; the media plane carries packets and knows nothing of people. The shell's
//! `bridge.rs` translates between these messages and the media core's commands.

use serde::{Deserialize, Serialize};

use crate::id::StreamName;

/// One WebRTC connection, publishing or watching. The hub counts these up; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// What the hub asks of the media plane.
#[expect(missing_docs, reason = "each variant names its fields")]
#[derive(Debug, Clone, PartialEq)]
pub enum MediaIntent {
    /// Let `media` publish into a stream; an earlier publisher of it is replaced. Answered by `Answer` or `Refused`.
    Publish {
        media: MediaId,
        stream: StreamName,
        offer: String,
    },
    /// Let `media` watch a stream. With an offer (WHEP) answered by `Answer`, without one by `Offer`.
    Watch {
        media: MediaId,
        stream: StreamName,
        offer: Option<String>,
        selection: Selection,
    },
    /// A publisher renegotiates.
    Offer { media: MediaId, sdp: String },
    /// A viewer answers an offer of ours.
    Answer { media: MediaId, sdp: String },
    /// A trickled candidate (`RTCIceCandidate.candidate`); empty ends them.
    Candidate { media: MediaId, candidate: String },
    /// The body of a WHIP or WHEP PATCH. Answered by `Patched` or `Refused`.
    Patch { media: MediaId, fragment: String },
    /// What a viewer wants to receive.
    Select {
        media: MediaId,
        selection: Selection,
    },
    /// Close one connection; nothing more is heard of it.
    Close { media: MediaId },
    /// The stream is over: close whoever still publishes or watches it.
    EndStream { stream: StreamName },
}

/// What the hub hears from the media plane.
#[expect(missing_docs, reason = "each variant names its fields")]
#[derive(Debug, Clone, PartialEq)]
pub enum MediaReply {
    /// SDP answer.
    Answer { media: MediaId, sdp: String },
    /// SDP offer for a viewer: the first, or a renegotiation.
    Offer { media: MediaId, sdp: String },
    /// A PATCH was applied; with a fragment when ICE restarted.
    Patched {
        media: MediaId,
        fragment: Option<String>,
    },
    /// An intent was refused. A connection refused at its first offer is gone.
    Refused { media: MediaId, refusal: Refusal },
    /// Media can flow, for the first time or again.
    Connected { media: MediaId },
    /// Nothing has been heard of the peer for a while; it may come back (`Connected`) or not (`Closed`).
    Silent { media: MediaId },
    /// The connection is gone for good.
    Closed { media: MediaId, reason: String },
    /// The tracks of a stream changed. Empty when its publisher is gone.
    Tracks {
        stream: StreamName,
        tracks: Vec<Track>,
    },
    /// A viewer's layer changed.
    Layer {
        media: MediaId,
        layer: Layer,
        reason: LayerReason,
    },
    /// A viewer cannot decode a track of the stream.
    Undecodable {
        media: MediaId,
        kind: Kind,
        codec: String,
    },
    /// How the publisher of a stream fares.
    PublisherStats {
        stream: StreamName,
        media: MediaId,
        stats: PublisherStats,
    },
}

/// What a viewer wants to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which layer.
    pub quality: Quality,
    /// Nothing but audio.
    pub audio_only: bool,
}

/// A viewer's choice of layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// The best there is.
    #[default]
    Auto,
    /// The highest layer.
    High,
    /// The middle layer.
    Medium,
    /// The lowest layer.
    Low,
}

/// Why the media plane refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The SDP, candidate or fragment is malformed; the text says how.
    Invalid(String),
    /// Nothing both sides can encode and decode; the text names what was offered.
    NoCommonCodec(String),
    /// Out of order, or about a connection that is gone.
    Conflict(String),
    /// The media plane is full.
    Overloaded,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A published track, as clients see it in `stream_started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Track {
    /// Number within the stream.
    pub track: u16,
    /// Audio or video.
    pub kind: Kind,
    /// `opus`, `vp8`, `vp9`, `h264`, `av1`.
    pub codec: String,
    /// True while nothing is sent on it.
    pub muted: bool,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of a track; zeros are not yet known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layer {
    /// RID, none without simulcast.
    pub rid: Option<String>,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Frames a second.
    pub fps: u16,
    /// Bits a second, over the last second.
    pub bitrate_bps: u64,
}

/// Why a viewer's layer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LayerReason {
    /// The first it gets.
    Started,
    /// It asked.
    Chosen,
    /// The publisher's layers changed.
    Published,
}

/// How a publisher fares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PublisherStats {
    /// Bits a second received, all layers.
    pub bitrate_bps: u64,
    /// Of the best video layer.
    pub fps: u16,
    /// Milliseconds, when known.
    pub rtt_ms: Option<f64>,
    /// 0 to 1, before repair.
    pub loss: f32,
    /// Of the video track, lowest first.
    pub layers: Vec<Layer>,
}
