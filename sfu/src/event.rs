//! Everything that may cross the boundary of the media core.
//!
//! A [`Command`] is what the shell asks, an [`Event`] is what it should know, an [`Output`] is what it must do.
//! The only other things that enter are datagrams, relay messages of other shards, and time.

use std::time::Duration;

use crate::id::{PeerKey, ShardId, StreamKey};
use crate::relay;

/// What the shell asks of a shard.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes a stream known. In its home shard its publisher lives; any other shard follows the home shard and serves
    /// viewers from what it relays. Opening twice is harmless.
    OpenStream {
        /// Which stream.
        stream: StreamKey,
        /// The shard that its publisher lives in.
        home: ShardId,
    },
    /// Ends a stream here and closes every peer that publishes or watches it.
    CloseStream {
        /// Which stream.
        stream: StreamKey,
    },
    /// A peer offers to publish (home shard only). Answered by [`Event::Answer`] or [`Event::Refused`].
    /// A publisher that the stream already has is closed and replaced: whether that is allowed was decided before.
    Publish {
        /// Which peer.
        peer: PeerKey,
        /// Which stream.
        stream: StreamKey,
        /// Its SDP offer.
        offer: String,
    },
    /// A peer wants to watch. With an offer (WHEP) the answer follows in [`Event::Answer`], without one the shard
    /// offers ([`Event::Offer`]) at once, or as soon as the stream has tracks.
    Watch {
        /// Which peer.
        peer: PeerKey,
        /// Which stream.
        stream: StreamKey,
        /// Its SDP offer.
        offer: Option<String>,
        /// What it wants of the stream.
        selection: Selection,
    },
    /// A publisher offers again: tracks came, went or changed direction.
    Offer {
        /// Which peer.
        peer: PeerKey,
        /// The SDP.
        sdp: String,
    },
    /// A viewer answers our offer.
    Answer {
        /// Which peer.
        peer: PeerKey,
        /// The SDP.
        sdp: String,
    },
    /// One trickled candidate, as in `RTCIceCandidate.candidate`; the empty string ends candidates.
    Candidate {
        /// Which peer.
        peer: PeerKey,
        /// The candidate, with or without `a=` before it.
        candidate: String,
    },
    /// The body of a WHIP or WHEP PATCH (`application/trickle-ice-sdpfrag`, RFC 8840): trickled candidates, or new ICE
    /// credentials for a restart. Answered by [`Event::Patched`] or [`Event::Refused`].
    Patch {
        /// Which peer.
        peer: PeerKey,
        /// The fragment.
        fragment: String,
    },
    /// What a viewer wants to receive from here on.
    Select {
        /// Which peer.
        peer: PeerKey,
        /// What it wants of the stream.
        selection: Selection,
    },
    /// Closes a peer without further events about it.
    Close {
        /// Which peer.
        peer: PeerKey,
    },
}

/// What a viewer wants to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The spatial layer wanted.
    pub quality: Quality,
    /// Nothing but audio.
    pub audio_only: bool,
}

/// A viewer's choice among the layers of a stream; the nearest layer there is serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// The best that is there.
    #[default]
    Auto,
    /// The highest layer.
    High,
    /// The middle one of three, the lower one of two.
    Medium,
    /// The lowest layer.
    Low,
}

/// What the shell should know. Events about one peer come in the order they happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The SDP answer to [`Command::Publish`], [`Command::Offer`] or [`Command::Watch`].
    Answer {
        /// Which peer.
        peer: PeerKey,
        /// The SDP.
        sdp: String,
    },
    /// An SDP offer for a viewer: the first one, or a renegotiation. The next is held back until this is answered.
    Offer {
        /// Which peer.
        peer: PeerKey,
        /// The SDP.
        sdp: String,
    },
    /// A PATCH was applied; the fragment holds our new credentials when it restarted ICE.
    Patched {
        /// Which peer.
        peer: PeerKey,
        /// The fragment.
        fragment: Option<String>,
    },
    /// A command could not be carried out. A peer refused at its first offer does not exist.
    Refused {
        /// Which peer.
        peer: PeerKey,
        /// What was wrong.
        refusal: Refusal,
    },
    /// ICE and DTLS are up: media can flow. Comes again when a silent or disconnected peer is back.
    Connected {
        /// Which peer.
        peer: PeerKey,
    },
    /// Nothing authentic has arrived from the peer for [`crate::config::Config::silence`]; it may come back.
    Silent {
        /// Which peer.
        peer: PeerKey,
    },
    /// The peer is gone for good and its key is free.
    Closed {
        /// Which peer.
        peer: PeerKey,
        /// Why.
        reason: CloseReason,
    },
    /// The tracks of a stream, whenever they change (home shard only). Empty when its publisher is gone.
    Tracks {
        /// Which stream.
        stream: StreamKey,
        /// All tracks there are.
        tracks: Vec<TrackInfo>,
    },
    /// The layer that a viewer receives changed.
    Layer {
        /// Which peer.
        peer: PeerKey,
        /// What it receives from here on.
        layer: LayerInfo,
        /// Why.
        reason: LayerReason,
    },
    /// A viewer negotiated nothing that can carry a track of the stream it watches.
    Undecodable {
        /// Which peer.
        peer: PeerKey,
        /// Sound or pictures.
        kind: Kind,
        /// What the track is encoded with.
        codec: Codec,
    },
    /// How the publisher of a stream fares, every [`crate::config::Config::stats_interval`].
    PublisherStats {
        /// Which stream.
        stream: StreamKey,
        /// Which peer.
        peer: PeerKey,
        /// The figures.
        stats: PublisherStats,
    },
}

/// Why a command was refused. The text says what was wrong with the input, for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not SDP, or SDP that breaks a rule.
    #[error("invalid SDP: {0}")]
    InvalidSdp(String),
    /// Nothing in the offer or answer can be used: no audio or video codec in common.
    #[error("no codec in common: {0}")]
    NoCommonCodec(String),
    /// Not a candidate this server can use.
    #[error("invalid candidate: {0}")]
    InvalidCandidate(String),
    /// The peer or stream is not (or no longer) known.
    #[error("unknown peer or stream")]
    Unknown,
    /// Nothing was offered that this would answer, or an offer is still open.
    #[error("out of order: {0}")]
    OutOfOrder(String),
    /// A limit of the configuration is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
}

/// Why a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed DTLS.
    PeerClosed,
    /// ICE did not connect, or was lost for longer than [`crate::config::Config::disconnect_timeout`].
    TimedOut,
    /// Another publisher took the stream over.
    Replaced,
    /// The stream ended.
    StreamEnded,
    /// DTLS failed: the certificate is not the one of the SDP, or of a kind this server does not take.
    Failed,
    /// Its answer to our offer was refused when it was half applied.
    BadAnswer,
    /// A fault of ours inside this peer, logged and counted.
    Internal,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A codec that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7587; RED (RFC 2198) around it is passed on.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP payload, with or without the dependency descriptor.
    Av1,
}

/// One published track.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackInfo {
    /// Number of the track within its stream, stable while its publisher stays.
    pub track: u16,
    /// Audio or video.
    pub kind: Kind,
    /// What it is encoded with.
    pub codec: Codec,
    /// True while the publisher sends nothing on it (muted, camera off).
    pub muted: bool,
    /// The layers, lowest first. One for a track without simulcast.
    pub layers: Vec<LayerInfo>,
}

/// One layer of a track. Zeros stand for what is not yet known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayerInfo {
    /// RID (RFC 8852), none without simulcast.
    pub rid: Option<String>,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Frames a second, measured.
    pub fps: u16,
    /// Measured over the last second, payload only.
    pub bitrate_bps: u64,
}

/// Why a viewer's layer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerReason {
    /// The first layer it gets.
    Started,
    /// It asked.
    Chosen,
    /// The publisher started, stopped or resized a layer.
    Published,
}

/// How a publisher fares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PublisherStats {
    /// Received from the publisher, all layers.
    pub bitrate_bps: u64,
    /// Of the best video layer.
    pub fps: u16,
    /// Round trip between server and publisher, when RTCP has told it.
    pub rtt: Option<Duration>,
    /// Share of packets lost on the way in, before repair, 0 to 1.
    pub loss: f32,
    /// The layers of the video track, lowest first.
    pub layers: Vec<LayerInfo>,
}

/// What the shell must do, in order. Datagrams are in [`crate::Shard::datagrams`].
#[derive(Debug)]
pub enum Output {
    /// Hand a message to another shard's `handle_relay`.
    Relay {
        /// The other shard.
        to: ShardId,
        /// What to hand over.
        message: relay::Message,
    },
    /// Tell whoever steers the shard.
    Event(Event),
}

/// Why the core asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A peer's own protocol timers (ICE, DTLS, RTCP).
    Peer,
    /// Something told to viewers or publishers: keyframe requests, statistics, silence.
    Stream,
    /// Packets still queued behind this turn's budget.
    Backlog,
}
