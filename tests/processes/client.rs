//! A member of some rooms that writes all the time, comes back whenever its connection breaks, and sends again what was not
//! acknowledged. It knows the public protocol and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::checker::{Acknowledged, Told};
use crate::judge::{Fact, entry_of, text_of};

/// Messages of one client that are on their way at once.
const WINDOW: usize = 4;

/// Before a client that could not connect tries again, and before it repeats a request that may be repeated and whose
/// refusal says no time.
const BACKOFF: Duration = Duration::from_millis(25);

/// What one page of the history holds at most.
const PAGE: u64 = 200;

/// The id of requests for the history.
const HISTORY: &str = "history";

/// How things stand, for all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    /// Of the server, unless it is being started.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) is_writing: bool,
}

/// What one client is told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Let the connection go without a goodbye, and come back.
    Break,
    /// The same, and stay away.
    Leave,
    Return,
}

/// What a client tells of itself.
#[derive(Debug)]
pub(crate) enum Event {
    Fact(Fact),
    /// It has sent a message for the first time.
    Wrote,
    /// A message is sent again, as nobody knows what has become of it.
    Repeated,
    /// A request is refused, and to be sent again later.
    Refused,
    /// It was connected to the session that it had before.
    Resumed,
    /// It has let its connection go, as it was told.
    Broke,
    /// It begins nothing new.
    Stopped,
    /// The server has said something that it must not say.
    Wrong(String),
}

/// A part of a room that was told to be missed: behind `after`, up to `up_to`.
#[derive(Debug)]
struct Gap {
    room: String,
    after: u64,
    up_to: u64,
}

pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) user: String,
    pub(crate) token: String,
    pub(crate) rooms: Vec<String>,
    /// Whether it only listens.
    pub(crate) is_silent: bool,
    pub(crate) random: ChaCha8Rng,
    pub(crate) control: watch::Receiver<Control>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) memory: Memory,
}

/// What a client keeps when its connection breaks.
#[derive(Default)]
pub(crate) struct Memory {
    resume: Option<String>,
    /// Epoch and position of each room.
    seen: BTreeMap<String, (String, u64)>,
    /// What it has written and was not acknowledged, by `client_id`: the room.
    open: BTreeMap<String, String>,
    written: u64,
    gaps: VecDeque<Gap>,
    /// Whether the end of writing was noticed.
    has_stopped: bool,
    /// Of this connection: what is to be sent.
    outgoing: VecDeque<Value>,
    /// Of this connection: ids of requests to be sent again, and when.
    refused: BTreeSet<String>,
    again: Option<Instant>,
}

impl Client {
    /// Lives until the run is over.
    pub(crate) async fn live(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut is_away = false;
        loop {
            let order = if is_away {
                orders.recv().await
            } else {
                tokio::select! {
                    order = orders.recv() => order,
                    () = self.connection() => continue,
                }
            };
            match order {
                Some(Order::Break) => self.tell(Event::Broke),
                Some(Order::Leave) => {
                    is_away = true;
                    self.tell(Event::Broke);
                }
                Some(Order::Return) => is_away = false,
                None => return,
            }
        }
    }

    fn tell(&self, event: Event) {
        // When nobody listens the run is over.
        let _ = self.events.send(event);
    }

    /// One connection, from the wait for a server until it breaks.
    async fn connection(&mut self) {
        let up = self.control.wait_for(|control| control.address.is_some());
        let Some(address) = up.await.ok().and_then(|control| control.address) else {
            return std::future::pending().await;
        };
        let Ok(mut socket) = self.connect(address).await else {
            return sleep(BACKOFF).await;
        };
        self.begin();
        loop {
            self.write_more();
            while let Some(message) = self.memory.outgoing.pop_front() {
                let text = Message::text(message.to_string());
                if socket.send(text).await.is_err() {
                    return;
                }
            }
            let again = self.memory.again;
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(wrong) = self.hear(&text) {
                            self.tell(Event::Wrong(wrong));
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return,
                },
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => self.repeat(),
                // The end of writing; a server that goes is noticed by the connection.
                changed = self.control.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<WebSocketStream<TcpStream>, Error> {
        let resume = self.memory.resume.as_ref();
        let query = resume.map_or_else(String::new, |token| format!("?resume={token}"));
        let mut request = format!("ws://{address}/ws{query}").into_client_request()?;
        let protocols = format!("redred.v1, redred.token.{}", self.token);
        let protocols = HeaderValue::from_str(&protocols).expect("a token is ASCII");
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let stream = TcpStream::connect(address).await?;
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => {
                if let Error::Http(answer) = &error {
                    self.tell(Event::Wrong(format!("refused with {}", answer.status())));
                }
                Err(error)
            }
        }
    }

    /// Subscribes from what was seen, and sends again what was not acknowledged.
    fn begin(&mut self) {
        let memory = &mut self.memory;
        memory.outgoing.clear();
        memory.refused.clear();
        memory.again = None;
        let mut requests: Vec<String> = self.rooms.clone();
        requests.extend(memory.open.keys().cloned());
        let repeated = memory.open.len();
        if !memory.gaps.is_empty() {
            requests.push(HISTORY.to_owned());
        }
        for id in requests {
            self.ask(&id);
        }
        (0..repeated).for_each(|_| self.tell(Event::Repeated));
    }

    fn repeat(&mut self) {
        self.memory.again = None;
        for id in std::mem::take(&mut self.memory.refused) {
            self.ask(&id);
        }
    }

    /// Sends the request with this id: the name of a room to subscribe to, that of a message, or [`HISTORY`].
    fn ask(&mut self, id: &str) {
        let memory = &mut self.memory;
        let request = if id == HISTORY {
            let Some(gap) = memory.gaps.front() else {
                return;
            };
            let data = json!({ "after_seq": gap.after, "limit": PAGE });
            json!({ "type": "history", "data": data, "metadata": { "id": id, "channel": gap.room } })
        } else if let Some(room) = memory.open.get(id) {
            let data = json!({ "text": text_of(id), "client_id": id });
            json!({ "type": "chat_message", "data": data, "metadata": { "id": id, "channel": room } })
        } else {
            let seen = memory.seen.get(id);
            let since = seen.map(|(epoch, seq)| json!({ "epoch": epoch, "seq": seq }));
            let data = json!({ "channel": id, "since": since });
            json!({ "type": "subscribe", "data": data, "metadata": { "id": id } })
        };
        memory.outgoing.push_back(request);
    }

    fn write_more(&mut self) {
        if !self.control.borrow().is_writing {
            if !std::mem::replace(&mut self.memory.has_stopped, true) {
                self.tell(Event::Stopped);
            }
            return;
        }
        while !self.is_silent && self.memory.open.len() < WINDOW {
            self.memory.written += 1;
            let client_id = format!("{}-{}", self.user, self.memory.written);
            let room = self.rooms.choose(&mut self.random).expect("a room");
            self.memory.open.insert(client_id.clone(), room.clone());
            self.tell(Event::Wrote);
            self.ask(&client_id);
            if self.random.random_range(0..20) == 0 {
                // An impatient person presses the button twice.
                self.ask(&client_id);
            }
        }
    }

    fn hear(&mut self, text: &str) -> Result<(), String> {
        let unread = |error: serde_json::Error| format!("{error} in {text}");
        let value: Value = serde_json::from_str(text).map_err(unread)?;
        let told = Told::deserialize(&value).map_err(unread)?;
        let room = told.metadata.channel.clone().unwrap_or_default();
        match (told.kind.as_str(), told.metadata.seq) {
            ("connection_established", _) => {
                self.memory.resume = value["data"]["resume_token"].as_str().map(str::to_owned);
                if value["data"]["resumed"] == true {
                    self.tell(Event::Resumed);
                }
            }
            ("subscribed", _) => self.take_up(room, &told)?,
            ("chat_message", Some(seq)) => {
                let seen = self.memory.seen.get_mut(&room);
                seen.ok_or("a message before `subscribed`")?.1 = seq;
                let entry = entry_of(&value["data"])?;
                let client = self.number;
                self.tell(Event::Fact(Fact::Delivered {
                    client,
                    room,
                    seq,
                    entry,
                }));
            }
            (_, Some(_)) => return Err(format!("nobody has asked for {value}")),
            ("ack", None) => {
                let id = told.metadata.reply_to.clone().unwrap_or_default();
                if id == HISTORY {
                    self.read(&value["data"])?;
                } else if told.data.id.is_some() {
                    self.close(id, told)?;
                }
            }
            ("error", None) => {
                let id = told.metadata.reply_to.unwrap_or_default();
                if value["data"]["retryable"] != true {
                    return Err(format!("{id}: {value}"));
                }
                let wait = value["data"]["retry_after_ms"].as_u64();
                let wait = wait.map_or(BACKOFF, Duration::from_millis);
                self.memory.refused.insert(id);
                self.memory.again.get_or_insert(Instant::now() + wait);
                self.tell(Event::Refused);
            }
            _ => {}
        }
        Ok(())
    }

    /// A subscription begins.
    fn take_up(&mut self, room: String, told: &Told) -> Result<(), String> {
        let (Some(epoch), Some(seq)) = (told.data.epoch.clone(), told.data.seq) else {
            return Err(format!("{told:?} has no position"));
        };
        let recovered = told.data.recovered == Some(true);
        let before = self.memory.seen.insert(room.clone(), (epoch.clone(), seq));
        if let Some((old, after)) = before {
            if recovered && old != epoch {
                return Err(format!("{room}: recovered from {old} in {epoch}"));
            }
            if !recovered && after < seq {
                let is_first = self.memory.gaps.is_empty();
                self.memory.gaps.push_back(Gap {
                    room: room.clone(),
                    after,
                    up_to: seq,
                });
                if is_first {
                    self.ask(HISTORY);
                }
            }
        }
        self.tell(Event::Fact(Fact::Subscribed {
            client: self.number,
            room,
            seq,
            recovered,
        }));
        Ok(())
    }

    /// A page of the history is there.
    fn read(&mut self, page: &Value) -> Result<(), String> {
        let Some(gap) = self.memory.gaps.front_mut() else {
            return Err(format!("nobody has asked for {page}"));
        };
        let mut facts = Vec::new();
        for message in page["messages"].as_array().into_iter().flatten() {
            let seq = message["seq"].as_u64().unwrap_or_default();
            if seq <= gap.after {
                return Err(format!("{seq} behind {} in the history", gap.after));
            }
            gap.after = seq;
            if seq <= gap.up_to {
                facts.push(Event::Fact(Fact::Read {
                    client: self.number,
                    room: gap.room.clone(),
                    seq,
                    entry: entry_of(message)?,
                }));
            }
        }
        if facts.is_empty() {
            return Err(format!("{gap:?} is not in the history"));
        }
        if gap.after >= gap.up_to {
            self.memory.gaps.pop_front();
        }
        facts.into_iter().for_each(|fact| self.tell(fact));
        self.ask(HISTORY);
        Ok(())
    }

    /// A message is acknowledged.
    fn close(&mut self, client_id: String, told: Told) -> Result<(), String> {
        let room = told.data.room.as_ref().and_then(Value::as_str);
        let (Some(room), Some(seq), Some(id)) = (room, told.data.seq, told.data.id) else {
            return Err(format!("{client_id} is acknowledged without its place"));
        };
        if told.data.client_id.as_deref() != Some(client_id.as_str()) {
            return Err(format!(
                "{client_id} is acknowledged as {:?}",
                told.data.client_id
            ));
        }
        let room = format!("chat:{room}");
        self.memory.open.remove(&client_id);
        let result = Acknowledged { room, seq, id };
        self.tell(Event::Fact(Fact::Acknowledged { client_id, result }));
        Ok(())
    }
}
