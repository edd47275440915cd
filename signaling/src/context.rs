//! What the rules of every channel share: sessions, connections, open requests, randomness, and the list of things the
//! shell must do.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Map, Value};
use uuid::Builder;

use crate::api;
use crate::broker::Publication;
use crate::chat;
use crate::close::CloseCode;
use crate::codec;
use crate::config::Config;
use crate::envelope::Metadata;
use crate::error::Error;
use crate::hub::Output;
use crate::id::{RequestId, StreamName};
use crate::live;
use crate::media::{MediaId, MediaIntent};
use crate::message::ServerMessage;
use crate::message::live::MediaClosed;
use crate::notifications::{self, Notice};
use crate::outbox::Frame;
use crate::peers::{Owner, Peer, Peers, Requester};
use crate::quota::Quotas;
use crate::session::{Fate, Key};
use crate::sessions::Sessions;
use crate::stats::Snapshot;
use crate::store::{StoreId, StoreOp, StoreRequest};
use crate::time::Now;

/// What the rules of every channel share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) sessions: Sessions,
    pub(crate) peers: Peers,
    /// What each user has asked lately.
    pub(crate) quotas: Quotas,
    pub(crate) outputs: VecDeque<Output>,
    /// Store requests that are not answered, with what follows.
    pub(crate) writes: HashMap<StoreId, Waiting>,
    next_store_id: u64,
    next_channel: u32,
    /// HTTP requests that are not answered, with the connection or stream they wait for.
    pub(crate) requests: BTreeMap<RequestId, Awaiting>,
    /// What people are to be notified of, from rules that know nothing of notifications.
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) is_draining: bool,
    /// The list of live streams is no longer what subscribers of `streams` know.
    pub(crate) is_directory_stale: bool,
    /// The counters of this hub; gauges are filled in when they are asked for.
    pub(crate) stats: Snapshot,
}

/// Whose rules go on when the store has answered.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// Those of a live stream.
    Live(StreamName, live::Then),
    /// Those of chat.
    Chat(chat::Then),
    /// Those of notifications.
    Notifications(notifications::Then),
}

/// What an HTTP request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaiting {
    /// A stream's state, or that it goes live.
    Stream(StreamName),
    /// The media plane's word on a connection.
    Media(MediaId),
    /// The store, for what is done whether or not somebody waits for the answer.
    Store,
}

impl Context {
    pub(crate) fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
            sessions: Sessions::new(),
            peers: Peers::new(config.live.remembered_resources),
            config,
            quotas: Quotas::default(),
            outputs: VecDeque::new(),
            writes: HashMap::new(),
            next_store_id: 1,
            next_channel: 1,
            requests: BTreeMap::new(),
            notices: VecDeque::new(),
            is_draining: false,
            is_directory_stale: false,
            stats: Snapshot::default(),
        }
    }

    /// The id of something that is stored at this moment, in milliseconds of the wall clock: a UUID of version 7 (RFC 9562
    /// section 5.7) as 32 hex digits. What is stored together stands together in the database's index of ids, which a commit
    /// writes page by page. 74 bits are random.
    pub(crate) fn stored_id(&mut self, at_ms: u64) -> String {
        let mut random = [0u8; 10];
        self.rng.fill_bytes(&mut random);
        let id = Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid();
        id.as_simple().to_string()
    }

    /// 128 random bits as 32 hex digits: unguessable names of sessions and resources.
    pub(crate) fn random_id(&mut self) -> String {
        let mut bytes = [0u8; 16];
        self.rng.fill_bytes(&mut bytes);
        format!("{:032x}", u128::from_be_bytes(bytes))
    }

    /// 32 random bits as 8 hex digits: an epoch need only differ from the one before.
    pub(crate) fn random_epoch(&mut self) -> String {
        format!("{:08x}", self.rng.next_u32())
    }

    pub(crate) fn next_channel_number(&mut self) -> u32 {
        let number = self.next_channel;
        self.next_channel = self.next_channel.wrapping_add(1);
        number
    }

    pub(crate) fn ask_media(&mut self, intent: MediaIntent) {
        self.outputs.push_back(Output::Media(intent));
    }

    pub(crate) fn ask_store(&mut self, op: StoreOp, waiting: Waiting) -> StoreId {
        let id = StoreId(self.next_store_id);
        self.next_store_id += 1;
        self.writes.insert(id, waiting);
        self.outputs
            .push_back(Output::Store(StoreRequest { id, op }));
        id
    }

    /// Says something to a channel.
    pub(crate) fn publish(&mut self, publication: Publication) {
        self.outputs.push_back(Output::Publish(publication));
    }

    /// Sends a message to one session.
    pub(crate) fn send(&mut self, now: Now, key: Key, message: &ServerMessage, about: &Metadata) {
        if !self.sessions.is_attached(key) {
            return;
        }
        let frame = encode_frame(message, now.wall_ms, about, 0);
        self.deliver(key, frame);
    }

    /// Queues an encoded message.
    pub(crate) fn deliver(&mut self, key: Key, frame: Frame) {
        self.sessions.deliver(key, frame, &self.config.outbox);
    }

    /// Tells a session that its request was carried out; nothing when it was no request.
    pub(crate) fn ack(&mut self, now: Now, key: Key, id: Option<String>, data: Map<String, Value>) {
        let Some(id) = id else { return };
        let about = Metadata {
            reply_to: Some(id),
            ..Metadata::default()
        };
        self.send(now, key, &ServerMessage::Ack(data), &about);
    }

    /// Tells a session that its message was refused.
    pub(crate) fn refuse(&mut self, now: Now, key: Key, id: Option<String>, error: Error) {
        let about = Metadata {
            reply_to: id,
            ..Metadata::default()
        };
        self.send(now, key, &ServerMessage::Error(error.into()), &about);
    }

    /// Answers an HTTP request, once.
    pub(crate) fn reply(&mut self, request: RequestId, result: Result<api::Reply, Error>) {
        if self.requests.remove(&request).is_some() {
            self.outputs.push_back(Output::Reply { request, result });
        }
    }

    /// Refuses whoever asked.
    pub(crate) fn fail(&mut self, now: Now, requester: Requester, error: Error) {
        match requester {
            Requester::Session { key, id } => self.refuse(now, key, id, error),
            Requester::Http(request) => self.reply(request, Err(error)),
        }
    }

    /// Forgets a connection: open requests about it are refused, its session is told why.
    pub(crate) fn forget_peer(&mut self, now: Now, media: MediaId, reason: &str) -> Option<Peer> {
        let mut peer = self.peers.remove(media)?;
        for pending in peer.pending.drain(..) {
            let error = Error::not_found("the WebRTC connection is gone");
            self.fail(now, pending.requester, error);
        }
        if let Owner::Session(key) = peer.owner {
            let closed = MediaClosed {
                session: peer.wire_id.clone(),
                reason: reason.to_owned(),
            };
            self.send(
                now,
                key,
                &ServerMessage::MediaClosed(closed),
                &Metadata {
                    channel: Some(format!("live:{}", peer.stream)),
                    ..Metadata::default()
                },
            );
            if let Some(session) = self.sessions.get_mut(key) {
                session.forget_peer(&peer.stream, media, peer.side);
            }
        }
        Some(peer)
    }

    /// Sends a user's session away for good.
    pub(crate) fn send_away(&mut self, key: Key, reason: &str) {
        self.sessions
            .end(key, CloseCode::Removed, reason, Fate::Destroyed);
    }

    /// A message of a session was bad or excessive: forgiven a few times.
    pub(crate) fn strike(&mut self, now: Now, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.abuse.take(now.mono).is_err() && session.ending.is_none() {
            self.stats.abuse_closes += 1;
            let reason = "too many bad messages";
            self.sessions
                .end(key, CloseCode::Abuse, reason, Fate::Destroyed);
        }
    }
}

/// Encodes a message for any number of sessions.
pub(crate) fn encode_frame(
    message: &ServerMessage,
    at_ms: u64,
    about: &Metadata,
    channel: u32,
) -> Frame {
    Frame {
        bytes: codec::encode(message, at_ms, about),
        kind: u8::try_from(codec::type_index(message.kind())).unwrap_or(u8::MAX),
        class: message.class(),
        channel,
    }
}

/// A JSON object from pairs, for acknowledgements.
pub(crate) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
