//! Judges a whole run: the checker of the simulation, and what only real clients can say: that what they were told to have
//! missed was in the history, and that a message sent again is the same one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::checker::{Acknowledged, Checker, Entry};

/// What a client was told, in the order in which it was.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Subscribed {
        client: u64,
        room: String,
        seq: u64,
        recovered: bool,
    },
    Delivered {
        client: u64,
        room: String,
        seq: u64,
        entry: Entry,
    },
    /// Read from the history, because it was missed.
    Read {
        client: u64,
        room: String,
        seq: u64,
        entry: Entry,
    },
    Acknowledged {
        client_id: String,
        result: Acknowledged,
    },
}

/// What the store holds in the end, by room and position.
pub(crate) type Held = BTreeMap<(String, u64), Entry>;

#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) checker: Checker,
    /// Where each client's first subscription of each room began.
    begins: BTreeMap<(u64, String), u64>,
    /// What each client has found, live or in the history.
    found: BTreeSet<(u64, String, u64)>,
    read: Vec<(String, u64, Entry)>,
    acknowledged: BTreeSet<String>,
}

impl Judge {
    pub(crate) fn hear(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Subscribed {
                client,
                room,
                seq,
                recovered,
            } => {
                let begin = self.begins.entry((*client, room.clone()));
                begin.or_insert(*seq);
                self.checker.subscribed(*client, room, *seq, *recovered)
            }
            Fact::Delivered {
                client,
                room,
                seq,
                entry,
            } => {
                self.find(*client, room, *seq)?;
                self.checker.delivered(*client, room, *seq, entry)
            }
            Fact::Read {
                client,
                room,
                seq,
                entry,
            } => {
                self.read.push((room.clone(), *seq, entry.clone()));
                self.find(*client, room, *seq)
            }
            Fact::Acknowledged { client_id, result } => {
                self.acknowledged.insert(client_id.clone());
                self.checker.acknowledged(client_id, result.clone())
            }
        }
    }

    fn find(&mut self, client: u64, room: &str, seq: u64) -> Result<(), String> {
        let is_new = self.found.insert((client, room.to_owned(), seq));
        let again = || format!("client {client} found {seq} of {room} again");
        is_new.then_some(()).ok_or_else(again)
    }

    /// What was written and acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Messages that were missed, told to be missed, and found in the history.
    pub(crate) fn filled(&self) -> usize {
        self.read.len()
    }

    /// Whether every client has come to the end of its rooms.
    pub(crate) fn is_at(&self, ends: &BTreeMap<String, u64>) -> bool {
        self.begins.keys().all(|(client, room)| {
            self.checker.position(*client, room).as_ref() == ends.get(room)
                && self.missing(*client, room, ends).is_none()
        })
    }

    /// What a client has neither been told nor read.
    fn missing(&self, client: u64, room: &str, ends: &BTreeMap<String, u64>) -> Option<u64> {
        let begin = self.begins.get(&(client, room.to_owned()))?;
        let end = ends.get(room)?;
        (begin + 1..=*end).find(|seq| !self.found.contains(&(client, room.to_owned(), *seq)))
    }

    /// Everything is well again: everybody has everything, once.
    pub(crate) fn finish(&self, held: &Held) -> Result<(), String> {
        let ends = ends(held);
        self.checker.finish(&ends, held)?;
        for (client, room) in self.begins.keys() {
            if let Some(seq) = self.missing(*client, room, &ends) {
                return Err(format!("client {client} never found {seq} of {room}"));
            }
        }
        for (room, seq, entry) in &self.read {
            if held.get(&(room.clone(), *seq)) != Some(entry) {
                return Err(format!(
                    "{room}: read {entry:?} at {seq}, which is not stored"
                ));
            }
        }
        let mut stored = BTreeSet::new();
        for (place, entry) in held {
            let client_id = entry.client_id.clone().unwrap_or_default();
            if !self.acknowledged.contains(&client_id) {
                return Err(format!("{place:?}: {entry:?} was not acknowledged"));
            }
            if !stored.insert(client_id) {
                return Err(format!("{place:?}: {entry:?} is stored a second time"));
            }
        }
        Ok(())
    }
}

/// How far each room is.
pub(crate) fn ends(held: &Held) -> BTreeMap<String, u64> {
    // In order of positions, so that the last one of each room stays.
    held.keys().cloned().collect()
}

/// What the clients of this test say in a message.
pub(crate) fn text_of(client_id: &str) -> String {
    format!("what {client_id} has to say")
}

/// A message as it came, if it is what was written.
pub(crate) fn entry_of(message: &Value) -> Result<Entry, String> {
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    let client_id = text("client_id").unwrap_or_default();
    let writer = client_id.split('-').next();
    if message["text"] != text_of(&client_id) || message["sender"]["id"].as_str() != writer {
        return Err(format!("nobody has written {message}"));
    }
    Ok(Entry {
        kind: "chat_message".to_owned(),
        id: text("id").unwrap_or_default(),
        client_id: Some(client_id),
    })
}
