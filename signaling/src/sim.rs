//! A simulated world around a hub: scripted clients, a store in memory that can fail, a media plane that agrees to
//! everything, and a clock that steps from deadline to deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Reply, Request};
use crate::broker::Publication;
use crate::close::CloseCode;
use crate::config::Config;
use crate::error::Error;
use crate::grants::{Caller, Grants, User};
use crate::hub::{Connect, Departure, Hub, Output, VerifyError};
use crate::id::{Channel, RequestId, SessionId, StreamName, UserId};
use crate::media::{MediaId, MediaIntent, MediaReply, Refusal};
use crate::store::{
    Comment, RoleEntry, StoreError, StoreOk, StoreOp, StoreReply, StoreRequest, StreamState,
};
use crate::time::Now;

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
    /// While set, the store answers that it is unavailable.
    pub is_store_down: bool,
    /// While set, the media plane refuses offers with this.
    pub refusal: Option<Refusal>,
    /// Sockets that were closed by the hub.
    pub closed: BTreeMap<SessionId, CloseCode>,
    /// Answers over HTTP.
    pub replies: BTreeMap<RequestId, Result<Reply, Error>>,
    /// What tokens are worth, for `refresh_token`.
    pub tokens: BTreeMap<String, Caller>,
    received: BTreeMap<SessionId, Vec<Value>>,
    stalled: BTreeSet<SessionId>,
    streams: BTreeMap<StreamName, StreamState>,
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
            is_store_down: false,
            refusal: None,
            closed: BTreeMap::new(),
            replies: BTreeMap::new(),
            tokens: BTreeMap::new(),
            received: BTreeMap::new(),
            stalled: BTreeSet::new(),
            streams: BTreeMap::new(),
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
        let received = self.received.entry(session).or_default();
        let (mut answers, others): (Vec<Value>, Vec<Value>) = std::mem::take(received)
            .into_iter()
            .partition(|message| message["metadata"]["reply_to"] == json!(id));
        *received = others;
        assert_eq!(
            answers.len(),
            1,
            "exactly one answer to {envelope}: {answers:?}"
        );
        answers.remove(0)
    }

    /// Everything a socket has received and that was not taken.
    pub fn take(&mut self, session: SessionId) -> Vec<Value> {
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
        let mut store = VecDeque::new();
        let mut media = VecDeque::new();
        let mut published = VecDeque::new();
        loop {
            while let Some(output) = self.hub.poll_output() {
                self.carry_out(output, &mut store, &mut media, &mut published);
            }
            if let Some(publication) = published.pop_front() {
                self.hub.handle_published(self.now, publication);
            } else if let Some(reply) = store.pop_front() {
                self.hub.handle_store(self.now, reply);
            } else if let Some(reply) = media.pop_front() {
                self.hub.handle_media(self.now, reply);
            } else {
                break;
            }
        }
    }

    fn carry_out(
        &mut self,
        output: Output,
        store: &mut VecDeque<StoreReply>,
        media: &mut VecDeque<MediaReply>,
        published: &mut VecDeque<Publication>,
    ) {
        match output {
            Output::Write { session, frames } => {
                if self.stalled.contains(&session) {
                    return;
                }
                let received = self.received.entry(session).or_default();
                for frame in frames {
                    received.push(serde_json::from_slice(&frame).expect("the hub writes JSON"));
                }
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
                media.extend(self.answer_media(&intent));
                self.intents.push(intent);
            }
            Output::Store(StoreRequest { id, op }) => {
                let result = self.store(&op);
                self.stored.push(op);
                store.push_back(StoreReply { id, result });
            }
            Output::Publish(publication) => published.push_back(publication),
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

    fn store(&mut self, op: &StoreOp) -> Result<StoreOk, StoreError> {
        if self.is_store_down {
            return Err(StoreError::Unavailable("simulated".to_owned()));
        }
        match op {
            StoreOp::LoadStream { stream, comments } => {
                let mut state = self.streams.get(stream).cloned().unwrap_or_default();
                let surplus = state.comments.len().saturating_sub(*comments);
                state.comments.drain(..surplus);
                Ok(StoreOk::Loaded(state))
            }
            StoreOp::AddComment(comment) => Ok(StoreOk::Comment(self.add_comment(comment))),
            StoreOp::DeleteComment { stream, id, .. } => {
                let comments = &mut self.streams.entry(stream.clone()).or_default().comments;
                let before = comments.len();
                comments.retain(|comment| comment.id != *id);
                if comments.len() == before {
                    return Err(StoreError::NotFound);
                }
                Ok(StoreOk::Done)
            }
            StoreOp::Ban(ban) => {
                let state = self.streams.entry(ban.stream.clone()).or_default();
                state.bans.retain(|one| one.user != ban.user);
                state.bans.push(ban.clone());
                Ok(StoreOk::Done)
            }
            StoreOp::Unban { stream, user, .. } => {
                let state = self.streams.entry(stream.clone()).or_default();
                state.bans.retain(|one| one.user != *user);
                state.timeouts.retain(|one| one.user != *user);
                Ok(StoreOk::Done)
            }
            StoreOp::Timeout(timeout) => {
                let state = self.streams.entry(timeout.stream.clone()).or_default();
                state.timeouts.retain(|one| one.user != timeout.user);
                state.timeouts.push(timeout.clone());
                Ok(StoreOk::Done)
            }
            StoreOp::SetRole {
                stream, user, role, ..
            } => {
                let roles = &mut self.streams.entry(stream.clone()).or_default().roles;
                roles.retain(|one| one.user != *user);
                roles.extend(role.map(|role| RoleEntry {
                    user: user.clone(),
                    role,
                }));
                Ok(StoreOk::Done)
            }
            StoreOp::SaveSettings { stream, settings } => {
                self.streams.entry(stream.clone()).or_default().settings = settings.clone();
                Ok(StoreOk::Done)
            }
            StoreOp::StreamStarted(_) | StoreOp::StreamEnded(_) => Ok(StoreOk::Done),
            StoreOp::Chat(_) | StoreOp::Notifications(_) => {
                Err(StoreError::Unavailable("not simulated".to_owned()))
            }
        }
    }

    fn add_comment(&mut self, comment: &Comment) -> Comment {
        let comments = &mut self
            .streams
            .entry(comment.stream.clone())
            .or_default()
            .comments;
        let first = comments.iter().find(|one| {
            one.client_id.is_some()
                && one.client_id == comment.client_id
                && one.user.id == comment.user.id
        });
        if let Some(first) = first {
            return first.clone();
        }
        comments.push(comment.clone());
        comment.clone()
    }
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
