//! The task that owns the hub: it feeds the state machine with what happens and carries out what it decides, in order.
//! No rule lives here.

mod sockets;
pub mod websocket;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::TryRngCore;
use rand::rngs::OsRng;
use redred_signaling::api;
use redred_signaling::broker::Publication;
use redred_signaling::error::Error;
use redred_signaling::grants::Caller;
use redred_signaling::hub::{Connect, Departure, Hub, Output, VerifyError};
use redred_signaling::id::{RequestId, SessionId};
use redred_signaling::media::MediaReply;
use redred_signaling::stats;
use redred_signaling::store::{StoreId, StoreReply};
use redred_signaling::time::Now;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::bridge::Bridge;
use crate::media::{self, Events, Plane};
use crate::metrics::Metrics;
use crate::store::{self, Store};
use sockets::Counters;
use websocket::{Kind, Outgoing, Payloads};

pub use sockets::SocketStats;

/// Inputs that wait for the hub. Whoever sends one more waits, which slows sockets down as TCP would.
const INBOX: usize = 4096;

/// Inputs, or answers of the store, taken between two looks at the clock, the store and the media plane.
const INPUTS_PER_TURN: usize = 128;

/// Checks a token that is to extend a session. Its key may have to be asked for first.
pub type Verify = Arc<dyn Fn(String) -> Verifying + Send + Sync>;

/// A check under way.
pub type Verifying = Pin<Box<dyn Future<Output = Result<Caller, VerifyError>> + Send>>;

/// What the hub and its sockets are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits and intervals of the hub.
    pub hub: redred_signaling::Config,
    /// Limits of each socket.
    pub websocket: websocket::Config,
}

/// What happens to the hub.
enum Input {
    Connected(SessionId, Connect, mpsc::Sender<Outgoing>),
    Message(SessionId, Bytes),
    Heard(SessionId),
    Written(SessionId),
    Disconnected(SessionId, Departure),
    Verified(SessionId, Result<Caller, VerifyError>),
    Requested(
        RequestId,
        Caller,
        api::Request,
        oneshot::Sender<Result<api::Reply, Error>>,
    ),
    RequestGone(RequestId),
    Drain(Duration),
    Snapshot(oneshot::Sender<stats::Snapshot>),
    Stop(oneshot::Sender<()>),
}

/// An input and when it came.
struct Stamped {
    at: Instant,
    input: Input,
}

/// Reaches the hub from anywhere.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    inbox: mpsc::Sender<Stamped>,
    next_session: AtomicU64,
    next_request: AtomicU64,
    websocket: websocket::Config,
    metrics: Metrics,
    store: store::Monitor,
    media: media::Monitor,
    counters: Counters,
}

/// Starts the hub with what it works on.
pub fn start(
    config: Config,
    store: Store,
    (plane, events): (Plane, Events),
    verify: Verify,
    metrics: Metrics,
) -> Handle {
    let (inbox, inputs) = mpsc::channel(INBOX);
    let mut seed = [0; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .expect("the system gives randomness");
    let inner = Inner {
        inbox,
        next_session: AtomicU64::new(1),
        next_request: AtomicU64::new(1),
        websocket: config.websocket,
        metrics,
        store: store.monitor(),
        media: plane.monitor(),
        counters: Counters::default(),
    };
    let payloads = Payloads::new(
        config.websocket.compress_min_bytes,
        inner.metrics.ws_compressions.clone(),
    );
    let task = Task {
        // A strong one would keep the task alive when nobody else can reach it.
        inbox: inner.inbox.downgrade(),
        hub: Hub::new(config.hub, seed),
        payloads,
        bridge: Bridge::new(plane),
        store,
        verify,
        sessions: HashMap::new(),
        requests: HashMap::new(),
        stored: HashMap::new(),
        follow_ups: VecDeque::new(),
    };
    tokio::spawn(task.run(inputs, events));
    Handle {
        inner: Arc::new(inner),
    }
}

impl Handle {
    /// Asks the hub on behalf of an HTTP caller. When the future is dropped the hub is told that nobody waits.
    ///
    /// # Errors
    /// What the hub refuses; `unavailable` when it is gone.
    pub async fn request(&self, caller: Caller, ask: api::Request) -> Result<api::Reply, Error> {
        match self.inner.inbox.reserve().await {
            Ok(place) => self.ask(place, caller, ask).await,
            Err(_) => Err(gone()),
        }
    }

    /// The same for those at the door: while the hub is behind with what it has, they had better come back later than
    /// wait and make it worse.
    ///
    /// # Errors
    /// As [`Handle::request`], and `unavailable` when the hub's inbox is full.
    pub async fn try_request(
        &self,
        caller: Caller,
        ask: api::Request,
    ) -> Result<api::Reply, Error> {
        self.ask(place_now(&self.inner.inbox)?, caller, ask).await
    }

    async fn ask(
        &self,
        place: mpsc::Permit<'_, Stamped>,
        caller: Caller,
        ask: api::Request,
    ) -> Result<api::Reply, Error> {
        let request = RequestId(self.inner.next_request.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let mut abandoned = Abandoned {
            handle: self,
            request: Some(request),
        };
        place.send(Stamped {
            at: Instant::now(),
            input: Input::Requested(request, caller, ask, reply),
        });
        let result = answer.await;
        abandoned.request = None;
        result.unwrap_or_else(|_| Err(gone()))
    }

    /// Tells all sessions when to come back and closes them; returns when the hub has begun.
    pub async fn drain(&self, grace: Duration) {
        self.send(Input::Drain(grace)).await;
    }

    /// Stops the hub, the media workers and the store, in this order, when everything acknowledged is on disk.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.send(Input::Stop(done)).await;
        // An error means that it had stopped before.
        let _ = stopped.await;
    }

    /// What the hub counts. None when it is gone.
    pub async fn snapshot(&self) -> Option<stats::Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Snapshot(reply)).await;
        answer.await.ok()
    }

    /// What the sockets count.
    pub fn sockets(&self) -> SocketStats {
        self.inner.counters.stats()
    }

    /// How the store fares.
    pub fn store(&self) -> &store::Monitor {
        &self.inner.store
    }

    /// How the media workers fare.
    pub fn media(&self) -> &media::Monitor {
        &self.inner.media
    }

    /// False when the hub has stopped, wanted or not.
    pub fn is_alive(&self) -> bool {
        !self.inner.inbox.is_closed()
    }

    /// Why the server cannot serve, for `/readyz`; empty when it can.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.is_alive() {
            faults.push(String::from("the realtime hub has stopped"));
        }
        if !self.inner.store.is_healthy() {
            faults.push(String::from("the database fails"));
        }
        for worker in self.inner.media.dead() {
            faults.push(format!("media worker {worker} has stopped"));
        }
        faults
    }

    /// Announces a socket. None when the hub is gone.
    async fn connect(
        &self,
        connect: Connect,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Option<SessionId> {
        if !self.is_alive() {
            return None;
        }
        let session = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
        self.send(Input::Connected(session, connect, outgoing))
            .await;
        Some(session)
    }

    async fn send(&self, input: Input) {
        let stamped = Stamped {
            at: Instant::now(),
            input,
        };
        // When the hub is gone, so is everybody's socket soon.
        let _ = self.inner.inbox.send(stamped).await;
    }

    fn websocket_config(&self) -> websocket::Config {
        self.inner.websocket
    }

    fn observe_delivery(&self, duration: Duration) {
        self.inner.metrics.ws_delivery.observe(duration);
    }

    /// Where the sockets count.
    fn counters(&self) -> &Counters {
        &self.inner.counters
    }
}

/// Tells the hub when a caller goes away before its answer.
struct Abandoned<'a> {
    handle: &'a Handle,
    request: Option<RequestId>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let stamped = Stamped {
                at: Instant::now(),
                input: Input::RequestGone(request),
            };
            // With a full inbox the hub finds out when it answers.
            let _ = self.handle.inner.inbox.try_send(stamped);
        }
    }
}

/// A socket, as the hub's task sees it.
struct Socket {
    outgoing: mpsc::Sender<Outgoing>,
    /// When the input came in that led to the last batch.
    accepted: Instant,
}

/// What carrying out an output led to. Fed back when the outputs before it are done.
enum FollowUp {
    Verified(SessionId, Result<Caller, VerifyError>),
    Media(MediaReply),
    Store(StoreReply),
    Published(Box<Publication>),
    RequestGone(RequestId),
}

struct Task {
    inbox: mpsc::WeakSender<Stamped>,
    hub: Hub,
    payloads: Payloads,
    bridge: Bridge,
    store: Store,
    verify: Verify,
    sessions: HashMap<SessionId, Socket>,
    requests: HashMap<RequestId, oneshot::Sender<Result<api::Reply, Error>>>,
    /// When the input came in that led to a request to the store.
    stored: HashMap<StoreId, Instant>,
    follow_ups: VecDeque<FollowUp>,
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<Stamped>, mut events: Events) {
        let mut batch = Vec::with_capacity(INPUTS_PER_TURN);
        let mut replies = Vec::with_capacity(INPUTS_PER_TURN);
        loop {
            let deadline = self.hub.poll_timeout().map(|(deadline, _)| deadline);
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let now = now();
                self.hub.handle_timeout(now);
                self.carry_out(now, now.mono);
            }
            tokio::select! {
                // None come from a store whose writer is gone.
                1.. = self.store.replies(&mut replies, INPUTS_PER_TURN) => {
                    for reply in replies.drain(..) {
                        self.store_reply(reply);
                    }
                }
                Some(event) = events.recv() => {
                    if let Some(reply) = self.bridge.handle_event(event) {
                        let now = now();
                        self.hub.handle_media(now, reply);
                        self.carry_out(now, now.mono);
                    }
                }
                count = inputs.recv_many(&mut batch, INPUTS_PER_TURN) => {
                    if count == 0 {
                        break;
                    }
                    for stamped in batch.drain(..) {
                        if let Input::Stop(done) = stamped.input {
                            inputs.close();
                            self.stop().await;
                            let _ = done.send(());
                            return;
                        }
                        self.input(stamped);
                    }
                }
                () = sleep_until(deadline) => {}
            }
        }
        self.stop().await;
    }

    async fn stop(self) {
        let Self { store, bridge, .. } = self;
        drop(bridge);
        store.close().await;
    }

    fn input(&mut self, Stamped { at, input }: Stamped) {
        let now = now();
        let mut accepted = at;
        match input {
            Input::Connected(session, connect, outgoing) => {
                self.sessions.insert(
                    session,
                    Socket {
                        outgoing,
                        accepted: at,
                    },
                );
                self.hub.handle_connect(now, session, connect);
            }
            Input::Message(session, bytes) => self.hub.handle_message(now, session, &bytes),
            Input::Heard(session) => self.hub.handle_heard(now, session),
            Input::Written(session) => {
                // What goes out next was accepted after the batch before it, no more is known.
                if let Some(socket) = self.sessions.get(&session) {
                    accepted = socket.accepted;
                }
                self.hub.handle_written(now, session);
            }
            Input::Disconnected(session, departure) => {
                self.sessions.remove(&session);
                self.hub.handle_disconnect(now, session, departure);
            }
            Input::Verified(session, result) => self.hub.handle_verified(now, session, result),
            Input::Requested(request, caller, ask, reply) => {
                self.requests.insert(request, reply);
                self.hub.handle_request(now, request, caller, ask);
            }
            Input::RequestGone(request) => {
                self.requests.remove(&request);
                self.hub.handle_request_gone(now, request);
            }
            Input::Drain(grace) => self.hub.handle_drain(now, grace),
            Input::Snapshot(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.hub.stats());
                return;
            }
            Input::Stop(_) => unreachable!("handled by the loop"),
        }
        self.carry_out(now, accepted);
    }

    fn store_reply(&mut self, reply: StoreReply) {
        let now = now();
        let accepted = self.stored.remove(&reply.id).unwrap_or(now.mono);
        self.hub.handle_store(now, reply);
        self.carry_out(now, accepted);
    }

    /// Does all that the hub wants done, and all that this leads to.
    fn carry_out(&mut self, now: Now, accepted: Instant) {
        loop {
            while let Some(output) = self.hub.poll_output() {
                self.act(output, accepted);
            }
            match self.follow_ups.pop_front() {
                Some(FollowUp::Verified(session, result)) => {
                    self.hub.handle_verified(now, session, result);
                }
                Some(FollowUp::Media(reply)) => self.hub.handle_media(now, reply),
                Some(FollowUp::Store(reply)) => self.hub.handle_store(now, reply),
                Some(FollowUp::Published(publication)) => {
                    self.hub.handle_published(now, *publication);
                }
                Some(FollowUp::RequestGone(request)) => self.hub.handle_request_gone(now, request),
                None => return,
            }
        }
    }

    /// Checks a token: at once when its key is known, else beside the hub, which has others to serve. The hub has one of
    /// them open for a session at most.
    fn verify(&mut self, session: SessionId, token: String) {
        let mut checking = (self.verify)(token);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = checking.as_mut().poll(&mut context) {
            self.follow_ups
                .push_back(FollowUp::Verified(session, result));
            return;
        }
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let result = checking.await;
            let stamped = Stamped {
                at: Instant::now(),
                input: Input::Verified(session, result),
            };
            if let Some(inbox) = inbox.upgrade() {
                // When the hub is gone, so is the session.
                let _ = inbox.send(stamped).await;
            }
        });
    }

    fn act(&mut self, output: Output, accepted: Instant) {
        match output {
            Output::Write { session, frames } => {
                if let Some(socket) = self.sessions.get_mut(&session) {
                    socket.accepted = accepted;
                    // A socket that is gone is about to say so.
                    let share = |frame| self.payloads.share(frame);
                    let _ = socket.outgoing.try_send(Outgoing::Batch {
                        kind: Kind::Text,
                        payloads: frames.into_iter().map(share).collect(),
                        accepted,
                    });
                }
            }
            Output::Ping { session } => {
                if let Some(socket) = self.sessions.get(&session) {
                    // Behind a write that does not move, a ping would tell nothing new.
                    let _ = socket.outgoing.try_send(Outgoing::Ping);
                }
            }
            Output::Close {
                session,
                code,
                reason,
            } => {
                if let Some(socket) = self.sessions.remove(&session) {
                    let code = code.as_u16();
                    // When there is no room, dropping the sender closes the socket all the same.
                    let _ = socket.outgoing.try_send(Outgoing::Close { code, reason });
                }
            }
            Output::Verify { session, token } => self.verify(session, token),
            Output::Media(intent) => {
                let reply = self.bridge.handle_intent(intent);
                self.follow_ups.extend(reply.map(FollowUp::Media));
            }
            Output::Store(request) => {
                let id = request.id;
                match self.store.submit(request) {
                    Ok(()) => {
                        self.stored.insert(id, accepted);
                    }
                    Err(error) => {
                        let result = Err(error);
                        self.follow_ups
                            .push_back(FollowUp::Store(StoreReply { id, result }));
                    }
                }
            }
            // The only node there is hears what is said on it.
            Output::Publish(publication) => {
                let publication = Box::new(publication);
                self.follow_ups.push_back(FollowUp::Published(publication));
            }
            Output::Reply { request, result } => {
                let Some(reply) = self.requests.remove(&request) else {
                    return;
                };
                if reply.send(result).is_err() {
                    self.follow_ups.push_back(FollowUp::RequestGone(request));
                }
            }
        }
    }
}

/// A place in the inbox, if there is one.
fn place_now(inbox: &mpsc::Sender<Stamped>) -> Result<mpsc::Permit<'_, Stamped>, Error> {
    inbox.try_reserve().map_err(|error| match error {
        TrySendError::Full(()) => Error::unavailable("the server has more to do than it can"),
        TrySendError::Closed(()) => gone(),
    })
}

fn gone() -> Error {
    Error::unavailable("the server is going away")
}

/// Both clocks.
fn now() -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall_ms: wall.as_millis() as u64,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use redred_signaling::ErrorCode;

    use super::*;

    #[test]
    fn a_full_or_absent_hub_refuses_at_the_door() {
        let (inbox, inputs) = mpsc::channel(1);
        let first = place_now(&inbox).expect("there is room");
        let refused = place_now(&inbox).expect_err("there is none");
        assert_eq!(refused.code, ErrorCode::Unavailable);
        drop(first);
        assert!(place_now(&inbox).is_ok());
        drop(inputs);
        let refused = place_now(&inbox).expect_err("nobody is there");
        assert_eq!(refused.code, ErrorCode::Unavailable);
    }
}
