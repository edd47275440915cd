//! A simulated world around a hub: scripted clients, a store in memory that can fail, a media plane that agrees to
//! everything, and a clock that steps from deadline to deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::{Reply, Request};
use crate::broker::Publication;
use crate::close::CloseCode;
use crate::config::Config;
use crate::error::Error;
use crate::grants::{Caller, Grants, User};
use crate::hub::{Connect, Departure, Hub, Output, VerifyError};
use crate::id::{Channel, RequestId, SessionId, UserId};
use crate::media::{MediaId, MediaIntent, MediaReply, Refusal};
use crate::store::{StoreError, StoreOk, StoreOp, StoreReply, StoreRequest};
use crate::time::Now;

pub mod store;

use store::Store;

/// Where the simulated wall clock starts.
pub const START_MS: u64 = 1_795_521_600_000;

/// A hub and everything around it.
#[derive(Debug)]
pub struct World {
    /// The hub under test.
    pub hub: Hub,
    /// The simulated clocks.
    pub now: Now,
    /// What was asked of the media plane and not yet looked at.
    pub intents: Vec<MediaIntent>,
    /// What was asked of the store, in order.
    pub stored: Vec<StoreOp>,
    /// What is stored.
    pub store: Store,
    /// While set, the store answers that it is unavailable.
    pub is_store_down: bool,
    /// While set, the store does what it is asked and answers that it is unavailable: its word was lost on the way.
    pub is_store_mute: bool,
    /// After this many requests that it carries out, the store answers once that it is unavailable.
    pub store_fails_after: Option<u32>,
    /// While set, the store does what it is asked and its answers wait for [`World::run`] without it.
    pub is_store_held: bool,
    /// While set, the media plane's answers wait for [`World::run`] without it.
    pub is_media_held: bool,
    /// While set, publications wait for [`World::run`] without it.
    pub is_broker_held: bool,
    /// While set, the media plane refuses offers with this.
    pub refusal: Option<Refusal>,
    /// Sockets that were closed by the hub.
    pub closed: BTreeMap<SessionId, CloseCode>,
    /// Answers over HTTP.
    pub replies: BTreeMap<RequestId, Result<Reply, Error>>,
    /// What tokens are worth, for `refresh_token`.
    pub tokens: BTreeMap<String, Caller>,
    received: BTreeMap<SessionId, Vec<Bytes>>,
    stalled: BTreeSet<SessionId>,
    store_replies: VecDeque<StoreReply>,
    media_replies: VecDeque<MediaReply>,
    published: VecDeque<Publication>,
    next: u64,
}

impl World {
    /// A world with a hub of its own.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can only be made from the clock; every later one is counted from this"
    )]
    pub fn new(config: Config) -> Self {
        Self {
            hub: Hub::new(config, [7; 32]),
            now: Now {
                mono: Instant::now(),
                wall_ms: START_MS,
            },
            intents: Vec::new(),
            stored: Vec::new(),
            store: Store::default(),
            is_store_down: false,
            is_store_mute: false,
            store_fails_after: None,
            is_store_held: false,
            is_media_held: false,
            is_broker_held: false,
            refusal: None,
            closed: BTreeMap::new(),
            replies: BTreeMap::new(),
            tokens: BTreeMap::new(),
            received: BTreeMap::new(),
            stalled: BTreeSet::new(),
            store_replies: VecDeque::new(),
            media_replies: VecDeque::new(),
            published: VecDeque::new(),
            next: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Connects a socket.
    pub fn connect(&mut self, caller: &Caller, channel: Option<&str>) -> SessionId {
        self.connect_with(caller, channel, None)
    }

    /// Connects a socket that presents a resume token.
    pub fn connect_with(
        &mut self,
        caller: &Caller,
        channel: Option<&str>,
        resume: Option<String>,
    ) -> SessionId {
        let session = SessionId(self.next());
        let connect = Connect {
            caller: caller.clone(),
            channel: channel.map(|text| Channel::parse(text).expect("a channel")),
            resume,
        };
        self.hub.handle_connect(self.now, session, connect);
        self.run();
        session
    }

    /// The socket breaks.
    pub fn disconnect(&mut self, session: SessionId) {
        self.hub
            .handle_disconnect(self.now, session, Departure::Lost);
        self.run();
    }

    /// The client closes its socket for good.
    pub fn leave(&mut self, session: SessionId) {
        self.hub
            .handle_disconnect(self.now, session, Departure::Left);
        self.run();
    }

    /// From here on the socket takes nothing.
    pub fn stall(&mut self, session: SessionId) {
        self.stalled.insert(session);
    }

    /// Sends a text message.
    pub fn send_text(&mut self, session: SessionId, text: &str) {
        self.hub.handle_message(self.now, session, text.as_bytes());
        self.run();
    }

    /// Sends a message about a channel, without an id.
    pub fn send(&mut self, session: SessionId, channel: &str, kind: &str, data: Value) {
        let envelope = json!({"type": kind, "data": data, "metadata": {"channel": channel}});
        self.send_text(session, &envelope.to_string());
    }

    /// Sends a request and answers its `ack` or `error`, whole; exactly one must come. Everything else stays to be taken.
    pub fn ask(&mut self, session: SessionId, channel: &str, kind: &str, data: Value) -> Value {
        let id = format!("r-{}", self.next());
        let envelope = json!({
            "type": kind, "data": data, "metadata": {"channel": channel, "id": id},
        });
        self.send_text(session, &envelope.to_string());
        let mut answers = self.answers(session, &id);
        assert_eq!(
            answers.len(),
            1,
            "exactly one answer to {envelope}: {answers:?}"
        );
        answers.remove(0)
    }

    /// Takes what answers a request out of what a socket has received.
    pub fn answers(&mut self, session: SessionId, id: &str) -> Vec<Value> {
        let mut answers = Vec::new();
        let received = self.received.entry(session).or_default();
        received.retain(|bytes| {
            let message = read(bytes);
            let is_answer = message["metadata"]["reply_to"] == json!(id);
            if is_answer {
                answers.push(message);
            }
            !is_answer
        });
        answers
    }

    /// Everything a socket has received and that was not taken.
    pub fn take(&mut self, session: SessionId) -> Vec<Value> {
        self.take_bytes(session).iter().map(read).collect()
    }

    /// The same as bytes.
    pub fn take_bytes(&mut self, session: SessionId) -> Vec<Bytes> {
        self.received.remove(&session).unwrap_or_default()
    }

    /// The same, only the `data` of one type.
    pub fn take_kind(&mut self, session: SessionId, kind: &str) -> Vec<Value> {
        let messages = self.take(session).into_iter();
        let wanted = messages.filter(|message| message["type"] == json!(kind));
        wanted.map(|mut message| message["data"].take()).collect()
    }

    /// Asks over HTTP and answers the reply when it is already there.
    pub fn http(&mut self, caller: &Caller, ask: Request) -> Option<Result<Reply, Error>> {
        let request = self.http_open(caller, ask);
        self.replies.remove(&request)
    }

    /// Asks over HTTP; the reply appears in `replies`.
    pub fn http_open(&mut self, caller: &Caller, ask: Request) -> RequestId {
        let request = RequestId(self.next());
        self.hub
            .handle_request(self.now, request, caller.clone(), ask);
        self.run();
        request
    }

    /// The media plane says something.
    pub fn media(&mut self, reply: MediaReply) {
        self.hub.handle_media(self.now, reply);
        self.run();
    }

    /// The newest publisher that the hub asked the media plane for.
    #[must_use]
    pub fn publisher(&self) -> MediaId {
        let newest = self.intents.iter().rev().find_map(|intent| {
            let MediaIntent::Publish { media, .. } = intent else {
                return None;
            };
            Some(*media)
        });
        newest.expect("a publisher was asked for")
    }

    /// Makes `stream` live with a publisher over a WebSocket; answers its connection.
    pub fn go_live(&mut self, streamer: SessionId, stream: &str) -> MediaId {
        let channel = format!("live:{stream}");
        let ack = self.ask(
            streamer,
            &channel,
            "start_stream",
            json!({"title": "Hello"}),
        );
        let session = ack["data"]["session"].clone();
        assert!(session.is_string(), "{ack}");
        let offer = json!({"session": session, "sdp": "v=0 offer"});
        self.ask(streamer, &channel, "webrtc_offer", offer);
        let media = self.publisher();
        self.media(MediaReply::Connected { media });
        media
    }

    /// Lets time pass, waking the hub whenever it asked for it.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        while let Some((at, _)) = self.hub.poll_timeout() {
            if at > until.mono {
                break;
            }
            let step = at.saturating_duration_since(self.now.mono);
            self.now = self.now.after(step);
            self.hub.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
    }

    /// Carries out what the hub asks, until nothing is left.
    pub fn run(&mut self) {
        loop {
            while let Some(output) = self.hub.poll_output() {
                self.carry_out(output);
            }
            if !self.is_broker_held
                && let Some(publication) = self.published.pop_front()
            {
                self.hub.handle_published(self.now, publication);
            } else if !self.is_store_held
                && let Some(reply) = self.store_replies.pop_front()
            {
                self.hub.handle_store(self.now, reply);
            } else if !self.is_media_held
                && let Some(reply) = self.media_replies.pop_front()
            {
                self.hub.handle_media(self.now, reply);
            } else {
                break;
            }
        }
    }

    /// Lets one answer of a held store through; false when none waits.
    pub fn release_store_reply(&mut self) -> bool {
        let Some(reply) = self.store_replies.pop_front() else {
            return false;
        };
        self.hub.handle_store(self.now, reply);
        self.run();
        true
    }

    /// What the store has answered last comes first from here on: answers about different things may overtake each other.
    pub fn reorder_store_replies(&mut self) {
        self.store_replies.rotate_left(1);
    }

    /// Another node says something to a channel.
    pub fn publish(&mut self, publication: Publication) {
        self.hub.handle_published(self.now, publication);
        self.run();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Write { session, frames } => {
                if self.stalled.contains(&session) {
                    return;
                }
                let received = self.received.entry(session).or_default();
                received.extend(frames);
                self.hub.handle_written(self.now, session);
            }
            Output::Ping { .. } => {}
            Output::Close { session, code, .. } => {
                let before = self.closed.insert(session, code);
                assert_eq!(before, None, "a socket is closed once");
            }
            Output::Verify { session, token } => {
                let caller = self.tokens.get(&token).cloned();
                let result = caller.ok_or_else(|| VerifyError {
                    reason: "unknown".to_owned(),
                });
                self.hub.handle_verified(self.now, session, result);
            }
            Output::Media(intent) => {
                let reply = self.answer_media(&intent);
                self.media_replies.extend(reply);
                self.intents.push(intent);
            }
            Output::Store(StoreRequest { id, op }) => {
                let result = self.ask_store(&op);
                self.stored.push(op);
                self.store_replies.push_back(StoreReply { id, result });
            }
            Output::Publish(publication) => self.published.push_back(publication),
            Output::Reply { request, result } => {
                let before = self.replies.insert(request, result);
                assert_eq!(before, None, "a request is answered once");
            }
        }
    }

    fn answer_media(&self, intent: &MediaIntent) -> Option<MediaReply> {
        let refused = |media: MediaId| {
            let refusal = self.refusal.clone();
            refusal.map(|refusal| MediaReply::Refused { media, refusal })
        };
        let sdp = || "v=0 from the server".to_owned();
        match intent {
            MediaIntent::Publish { media, .. }
            | MediaIntent::Offer { media, .. }
            | MediaIntent::Watch {
                media,
                offer: Some(_),
                ..
            } => refused(*media).or_else(|| {
                Some(MediaReply::Answer {
                    media: *media,
                    sdp: sdp(),
                })
            }),
            MediaIntent::Watch {
                media, offer: None, ..
            } => refused(*media).or_else(|| {
                Some(MediaReply::Offer {
                    media: *media,
                    sdp: sdp(),
                })
            }),
            MediaIntent::Patch { media, fragment } => {
                let is_restart = fragment.contains("ice-ufrag");
                Some(MediaReply::Patched {
                    media: *media,
                    fragment: is_restart.then(|| "a=ice-ufrag:new".to_owned()),
                })
            }
            MediaIntent::Answer { .. }
            | MediaIntent::Candidate { .. }
            | MediaIntent::Select { .. }
            | MediaIntent::Close { .. }
            | MediaIntent::EndStream { .. } => None,
        }
    }

    fn ask_store(&mut self, op: &StoreOp) -> Result<StoreOk, StoreError> {
        let lost = || Err(StoreError::Unavailable("simulated".to_owned()));
        if self.is_store_down {
            return lost();
        }
        self.store_fails_after = match self.store_fails_after {
            Some(0) => {
                self.store_fails_after = None;
                return lost();
            }
            left => left.map(|left| left - 1),
        };
        let result = self.store.carry_out(op);
        if self.is_store_mute { lost() } else { result }
    }
}

fn read(frame: &Bytes) -> Value {
    serde_json::from_slice(frame).expect("the hub writes JSON")
}

/// Somebody with the grants that a token without grants has.
#[must_use]
pub fn viewer(id: &str) -> Caller {
    with_grants(id, "{}")
}

/// The owner of the stream that carries their name.
#[must_use]
pub fn streamer(id: &str) -> Caller {
    with_grants(id, &json!({"publish": [id]}).to_string())
}

/// Somebody with the grants of a `grants` claim.
#[must_use]
pub fn with_grants(id: &str, grants: &str) -> Caller {
    let grants: Grants = serde_json::from_str(grants).expect("grants");
    Caller {
        user: User {
            id: UserId::new(id).expect("a user id"),
            name: id.to_owned(),
        },
        grants,
        expires_at_ms: START_MS + 24 * 3600 * 1000,
    }
}
