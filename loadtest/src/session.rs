//! One client: connects as the SDK does, subscribes, writes when it is told to, comes back when its connection breaks, and
//! notes everything that arrives.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::measure::{Arrival, Recorder, Track, record};

/// How long a connection may take to be established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest delay before another attempt to come back.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Bytes of the read buffer of a connection: ten thousand of the library's own would take more than a gigabyte.
const READ_BUFFER: usize = 4 * 1024;

/// What all sessions of one thread share.
pub(crate) struct Shared {
    /// `host:port` of the server.
    pub(crate) address: String,
    /// The moment that send times in messages are counted from, the same in all threads.
    pub(crate) start: Instant,
    pub(crate) recorder: RefCell<Recorder>,
    pub(crate) rng: RefCell<ChaCha8Rng>,
    /// The newest position of each channel that anybody saw.
    pub(crate) newest: RefCell<BTreeMap<String, u64>>,
    /// Sessions that are connected and subscribed to all they want.
    pub(crate) ready: Cell<usize>,
    /// Set when sessions leave for good and what they miss no longer counts.
    pub(crate) is_over: Cell<bool>,
    /// What the ids of this thread's messages begin with. It does not come from the seed: a server that was loaded before
    /// would take messages with the same ids for repetitions, acknowledge them and deliver nothing.
    id_prefix: u64,
    ids: Cell<u64>,
    /// A broadcast arrives as the same bytes at many sessions: what it says is worked out once.
    last: RefCell<(String, Arrived)>,
}

/// What a session is told to do.
pub(crate) enum Order {
    /// Write to its channel.
    Write(String),
    /// Lose the connection, and come back after a random part of this.
    Break(Duration),
    /// Leave for good.
    Leave,
}

/// Who a session is.
pub(crate) struct Identity {
    pub(crate) token: String,
    /// What it subscribes to; it writes to the first.
    pub(crate) channels: Vec<String>,
    /// The message type it writes.
    pub(crate) kind: &'static str,
    /// Whether it reads.
    pub(crate) reads: bool,
}

/// What the thread sees of a session.
pub(crate) struct Handle {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    /// Messages that it was told to write and that are not answered.
    pub(crate) open: Rc<Cell<usize>>,
    /// Subscribed positions by channel; looked at when the run is over.
    pub(crate) tracks: Rc<RefCell<HashMap<String, Track>>>,
    /// Whether it is connected and subscribed.
    pub(crate) is_ready: Rc<Cell<bool>>,
}

impl Handle {
    /// Has it write to its channel. The message is open from now on: a session that cannot send for a while would else be
    /// given ever more of them.
    pub(crate) fn write(&self, text: String) {
        // A session that has left writes nothing.
        if self.orders.send(Order::Write(text)).is_ok() {
            self.open.set(self.open.get() + 1);
        }
    }
}

/// What matters of a message that arrived.
#[derive(Clone, Debug, Default, PartialEq)]
struct Arrived {
    is_broadcast: bool,
    channel: String,
    seq: u64,
    sent_us: Option<u64>,
}

/// The envelope, without looking into the data.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    metadata: Option<About<'a>>,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

#[derive(Deserialize)]
struct About<'a> {
    #[serde(default, borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
}

/// Why a connection ended.
enum Ended {
    /// The session is to come back after a random part of this.
    Broken(Duration),
    /// It is over.
    Over,
}

impl Shared {
    pub(crate) fn new(address: String, start: Instant, rng: ChaCha8Rng) -> Self {
        Self {
            address,
            start,
            recorder: RefCell::default(),
            rng: RefCell::new(rng),
            newest: RefCell::default(),
            ready: Cell::new(0),
            is_over: Cell::new(false),
            id_prefix: RandomState::new().build_hasher().finish(),
            ids: Cell::new(0),
            last: RefCell::default(),
        }
    }

    fn fail(&self, reason: &str) {
        let mut recorder = self.recorder.borrow_mut();
        *recorder.failed.entry(reason.to_owned()).or_default() += 1;
    }

    /// An id that no message has had, of this run or of another.
    fn client_id(&self) -> String {
        self.ids.set(self.ids.get() + 1);
        format!("{:016x}{:016x}", self.id_prefix, self.ids.get())
    }

    fn saw(&self, channel: &str, seq: u64) {
        let mut newest = self.newest.borrow_mut();
        match newest.get_mut(channel) {
            Some(known) => *known = seq.max(*known),
            None => {
                newest.insert(channel.to_owned(), seq);
            }
        }
    }
}

/// Starts a session on this thread; it arrives after `delay`.
pub(crate) fn start(shared: Rc<Shared>, identity: Identity, delay: Duration) -> Handle {
    let (orders, inbox) = mpsc::unbounded_channel();
    let handle = Handle {
        orders,
        open: Rc::default(),
        tracks: Rc::default(),
        is_ready: Rc::default(),
    };
    let session = Session {
        shared,
        identity,
        open: handle.open.clone(),
        tracks: handle.tracks.clone(),
        is_ready: handle.is_ready.clone(),
        resume: None,
        requests: HashMap::new(),
        next_id: 0,
        awaited: 0,
        broken_at: None,
    };
    tokio::task::spawn_local(async move {
        tokio::time::sleep(delay).await;
        session.run(inbox).await;
    });
    handle
}

struct Session {
    shared: Rc<Shared>,
    identity: Identity,
    open: Rc<Cell<usize>>,
    tracks: Rc<RefCell<HashMap<String, Track>>>,
    is_ready: Rc<Cell<bool>>,
    resume: Option<String>,
    requests: HashMap<String, Instant>,
    next_id: u64,
    /// Subscriptions that are not confirmed.
    awaited: usize,
    broken_at: Option<Instant>,
}

type Socket = WebSocketStream<TcpStream>;

impl Session {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let mut attempt = 0;
        loop {
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await;
            let ended = match opened {
                Ok(Ok(socket)) => {
                    attempt = 0;
                    self.serve(socket, &mut inbox).await
                }
                Ok(Err(reason)) => {
                    self.shared.fail(&reason);
                    attempt += 1;
                    Ended::Broken(backoff(attempt))
                }
                Err(_) => {
                    self.shared.fail("timeout");
                    attempt += 1;
                    Ended::Broken(backoff(attempt))
                }
            };
            if self.is_ready.replace(false) {
                self.shared.ready.set(self.shared.ready.get() - 1);
            }
            // What was not answered is not known to be stored. What was not written yet will be.
            let unwritten = self.open.get().saturating_sub(self.requests.len());
            self.open.set(unwritten);
            self.requests.clear();
            let Ended::Broken(longest) = ended else {
                return;
            };
            if self.shared.is_over.get() {
                return;
            }
            self.broken_at.get_or_insert_with(Instant::now);
            let part: f64 = self.shared.rng.borrow_mut().random();
            tokio::time::sleep(longest.mul_f64(part)).await;
        }
    }

    /// Connects, upgrades, waits for the greeting, and asks for the channels.
    async fn open(&mut self) -> Result<Socket, String> {
        let begun = Instant::now();
        let stream = TcpStream::connect(&self.shared.address).await;
        let stream = stream.map_err(|error| format!("tcp: {}", error.kind()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let resume = self.resume.as_ref();
        let query = resume.map_or_else(String::new, |token| format!("?resume={token}"));
        let url = format!("ws://{}/ws{query}", self.shared.address);
        let mut request = url
            .into_client_request()
            .map_err(|error| error.to_string())?;
        let protocols = format!("redred.v1, redred.token.{}", self.identity.token);
        let protocols = HeaderValue::from_str(&protocols).map_err(|error| error.to_string())?;
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let upgraded = client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = upgraded.map_err(|error| {
            if let Error::Http(response) = error {
                format!("http {}", response.status().as_u16())
            } else {
                "websocket".to_owned()
            }
        })?;
        let greeting = next_text(&mut socket).await?;
        let greeting: Value = serde_json::from_str(&greeting).map_err(|_| "not JSON")?;
        if greeting["type"] != "connection_established" {
            return Err(format!("greeted by {}", greeting["type"]));
        }
        self.resume = greeting["data"]["resume_token"].as_str().map(str::to_owned);
        {
            let mut recorder = self.shared.recorder.borrow_mut();
            record(&mut recorder.connect, begun.elapsed());
            if self.broken_at.is_some() {
                recorder.reconnected += 1;
            } else {
                recorder.connected += 1;
            }
        }
        self.awaited = self.identity.channels.len();
        for channel in &self.identity.channels {
            let since = self
                .tracks
                .borrow()
                .get(channel)
                .map(|track| json!({"epoch": track.epoch, "seq": track.complete()}));
            let mut data = json!({ "channel": channel });
            if let Some(since) = since {
                data["since"] = since;
            }
            let envelope = json!({"type": "subscribe", "data": data});
            let sent = socket.send(Message::text(envelope.to_string())).await;
            sent.map_err(|_| "websocket")?;
        }
        self.note_ready();
        Ok(socket)
    }

    fn note_ready(&mut self) {
        if self.awaited == 0 && !self.is_ready.replace(true) {
            self.shared.ready.set(self.shared.ready.get() + 1);
            if let Some(at) = self.broken_at.take() {
                record(&mut self.shared.recorder.borrow_mut().back, at.elapsed());
            }
        }
    }

    async fn serve(
        &mut self,
        mut socket: Socket,
        inbox: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Ended {
        loop {
            // Who reads nothing is ready at once: it never learns that it is subscribed.
            if !self.identity.reads {
                self.awaited = 0;
                self.note_ready();
            }
            tokio::select! {
                message = socket.next(), if self.identity.reads => match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(answer) = self.take(&text)
                            && socket.send(Message::text(answer)).await.is_err()
                        {
                            return Ended::Broken(backoff(1));
                        }
                    }
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map_or(1005, |frame| u16::from(frame.code));
                        let mut recorder = self.shared.recorder.borrow_mut();
                        *recorder.closed.entry(code).or_default() += 1;
                        return Ended::Broken(backoff(1));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ended::Broken(backoff(1)),
                },
                order = inbox.recv() => match order {
                    Some(Order::Write(text)) => {
                        let envelope = self.envelope(&text);
                        if socket.send(Message::text(envelope)).await.is_err() {
                            return Ended::Broken(backoff(1));
                        }
                    }
                    Some(Order::Break(longest)) => return Ended::Broken(longest),
                    Some(Order::Leave) | None => {
                        // The server need not hear of it from everybody.
                        let _ = socket.close(None).await;
                        return Ended::Over;
                    }
                },
            }
        }
    }

    fn envelope(&mut self, text: &str) -> String {
        self.next_id += 1;
        let id = self.next_id.to_string();
        self.requests.insert(id.clone(), Instant::now());
        self.shared.recorder.borrow_mut().sent += 1;
        json!({
            "type": self.identity.kind,
            "data": {"text": text, "client_id": self.shared.client_id()},
            "metadata": {"channel": self.identity.channels.first(), "id": id},
        })
        .to_string()
    }

    /// Looks at a message; answers what is to be sent in return.
    fn take(&mut self, text: &str) -> Option<String> {
        self.shared.recorder.borrow_mut().bytes += text.len() as u64;
        if self.shared.last.borrow().0 == text {
            let arrived = self.shared.last.borrow().1.clone();
            self.arrived(&arrived);
            return None;
        }
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
            self.shared.fail("not JSON");
            return None;
        };
        let about = envelope.metadata.as_ref();
        let seq = about.and_then(|about| about.seq);
        let channel = about.and_then(|about| about.channel.as_deref());
        if let (Some(seq), Some(channel)) = (seq, channel) {
            let arrived = Arrived {
                is_broadcast: matches!(&*envelope.kind, "comment" | "chat_message"),
                channel: channel.to_owned(),
                seq,
                sent_us: sent_us(text),
            };
            self.arrived(&arrived);
            *self.shared.last.borrow_mut() = (text.to_owned(), arrived);
            return None;
        }
        match &*envelope.kind {
            "ack" | "error" | "subscribed" => {
                let whole: Value = serde_json::from_str(text).ok()?;
                self.answered(&whole);
                None
            }
            "ping" => Some(json!({"type": "pong", "data": {}}).to_string()),
            _ => None,
        }
    }

    /// A message with a position.
    fn arrived(&self, arrived: &Arrived) {
        self.shared.saw(&arrived.channel, arrived.seq);
        let mut tracks = self.tracks.borrow_mut();
        let Some(track) = tracks.get_mut(&arrived.channel) else {
            return;
        };
        let what = track.arrive(arrived.seq);
        let mut recorder = self.shared.recorder.borrow_mut();
        match what {
            Arrival::Repeated => {
                recorder.duplicated += 1;
                return;
            }
            Arrival::Late => recorder.out_of_order += 1,
            Arrival::New => {}
        }
        if arrived.is_broadcast {
            recorder.delivered += 1;
            if let Some(sent_us) = arrived.sent_us {
                let now = self.shared.start.elapsed();
                let since = now.saturating_sub(Duration::from_micros(sent_us));
                record(&mut recorder.delivery, since);
            }
        }
    }

    fn answered(&mut self, message: &Value) {
        let data = &message["data"];
        if message["type"] == "subscribed" {
            let channel = data["channel"].as_str().unwrap_or_default();
            let (epoch, seq) = (data["epoch"].as_str(), data["seq"].as_u64());
            let mut tracks = self.tracks.borrow_mut();
            let was_there = tracks.contains_key(channel);
            let is_recovered = data["recovered"] == true;
            if was_there {
                let mut recorder = self.shared.recorder.borrow_mut();
                if is_recovered {
                    recorder.recovered += 1;
                } else {
                    recorder.unrecovered += 1;
                }
            }
            if !(was_there && is_recovered) {
                let track = Track::starting(epoch.unwrap_or_default(), seq.unwrap_or_default());
                tracks.insert(channel.to_owned(), track);
            }
            drop(tracks);
            self.awaited = self.awaited.saturating_sub(1);
            self.note_ready();
            return;
        }
        let id = message["metadata"]["reply_to"].as_str().unwrap_or_default();
        let Some(sent) = self.requests.remove(id) else {
            if message["type"] == "error" {
                self.shared.fail(data["code"].as_str().unwrap_or("error"));
            }
            return;
        };
        self.open.set(self.open.get().saturating_sub(1));
        let mut recorder = self.shared.recorder.borrow_mut();
        if message["type"] == "ack" {
            recorder.acked += 1;
            record(&mut recorder.ack, sent.elapsed());
            if let (Some(seq), Some(channel)) =
                (data["seq"].as_u64(), self.identity.channels.first())
            {
                self.shared.saw(channel, seq);
            }
        } else {
            let code = data["code"].as_str().unwrap_or("error").to_owned();
            *recorder.refused.entry(code).or_default() += 1;
        }
    }
}

/// What a written message starts with, so that whoever gets it knows when it was sent.
pub(crate) fn stamp(start: Instant) -> String {
    format!("lt{:016}", start.elapsed().as_micros())
}

fn sent_us(text: &str) -> Option<u64> {
    // The zero tells it from the names of users, which begin with the same letters.
    let at = text.find("\"lt0")? + 3;
    text.get(at..at + 16)?.parse().ok()
}

/// The longest delay before an attempt: doubled each time, as the SDK does.
fn backoff(attempt: u32) -> Duration {
    let doubled = Duration::from_millis(500) * 2u32.pow(attempt.min(8));
    doubled.min(LONGEST_DELAY)
}

async fn next_text(socket: &mut Socket) -> Result<String, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(format!("closed {code}"));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err("websocket".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_time_is_found_again() {
        let start = Instant::now();
        let text = stamp(start);
        let text = format!(r#"{{"data":{{"user":{{"id":"lt-v1"}},"text":"{text} hello"}}}}"#);
        assert!(sent_us(&text).expect("a send time") < 1_000_000);
        assert_eq!(sent_us(r#"{"data":{"text":"hello"}}"#), None);
    }

    #[test]
    fn a_message_is_open_before_its_session_finds_time_to_write_it() {
        let (orders, inbox) = mpsc::unbounded_channel();
        let handle = Handle {
            orders,
            open: Rc::default(),
            tracks: Rc::default(),
            is_ready: Rc::default(),
        };
        handle.write(String::from("one"));
        handle.write(String::from("two"));
        assert_eq!(handle.open.get(), 2);
        drop(inbox);
        handle.write(String::from("nobody writes this"));
        assert_eq!(handle.open.get(), 2);
    }
}
