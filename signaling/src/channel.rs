//! A channel: its subscribers, its life (epoch), and the positions of its persistent messages.

use std::collections::BTreeSet;

use crate::context::{Context, encode_frame};
use crate::envelope::Metadata;
use crate::history::History;
use crate::id::Channel;
use crate::message::ServerMessage;
use crate::message::connection::{ChannelState, Position, Subscribed};
use crate::outbox::Frame;
use crate::session::Key;
use crate::time::Now;

/// Subscribers and history of one channel.
#[derive(Debug)]
pub(crate) struct Room {
    name: Channel,
    number: u32,
    epoch: String,
    history: History,
    subscribers: BTreeSet<Key>,
}

impl Room {
    pub(crate) fn new(context: &mut Context, name: Channel) -> Self {
        let limits = &context.config.channel;
        let history = History::new(limits.history_messages, limits.history_bytes);
        Self {
            name,
            number: context.next_channel_number(),
            epoch: context.random_epoch(),
            history,
            subscribers: BTreeSet::new(),
        }
    }

    pub(crate) fn subscribers(&self) -> &BTreeSet<Key> {
        &self.subscribers
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.history.last_seq()
    }

    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            channel: Some(self.name.to_string()),
            ..Metadata::default()
        }
    }

    /// Adds a subscriber and tells it how things stand, then what it missed since `since`.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        since: Option<&Position>,
        state: ChannelState,
    ) {
        let missed: Option<Vec<Frame>> = since
            .filter(|since| since.epoch == self.epoch)
            .and_then(|since| Some(self.history.since(since.seq)?.cloned().collect()));
        if since.is_some() {
            match &missed {
                Some(_) => context.stats.recoveries += 1,
                None => context.stats.recovery_failures += 1,
            }
        }
        let seq = match (&missed, since) {
            (Some(_), Some(since)) => since.seq,
            _ => self.history.last_seq(),
        };
        let subscribed = Subscribed {
            channel: self.name.clone(),
            epoch: self.epoch.clone(),
            seq,
            recovered: missed.is_some(),
            state,
        };
        let about = self.metadata();
        let message = ServerMessage::Subscribed(Box::new(subscribed));
        context.send(now, key, &message, &about);
        for frame in missed.into_iter().flatten() {
            context.deliver(key, frame);
        }
        self.subscribers.insert(key);
    }

    /// Removes a subscriber.
    pub(crate) fn unsubscribe(&mut self, key: Key) {
        self.subscribers.remove(&key);
    }

    /// Sends a message that takes a position and is kept for those who come back.
    pub(crate) fn publish(&mut self, context: &mut Context, now: Now, message: &ServerMessage) {
        let about = Metadata {
            seq: Some(self.history.last_seq() + 1),
            epoch: Some(self.epoch.clone()),
            ..self.metadata()
        };
        let frame = encode_frame(message, now, &about, self.number);
        for key in &self.subscribers {
            context.deliver(*key, frame.clone());
        }
        self.history.push(frame);
    }

    /// Sends a message that only those hear who are there.
    pub(crate) fn broadcast(&self, context: &mut Context, now: Now, message: &ServerMessage) {
        self.send_to(context, now, message, &self.subscribers);
    }

    /// Sends a message to some sessions.
    pub(crate) fn send_to(
        &self,
        context: &mut Context,
        now: Now,
        message: &ServerMessage,
        keys: &BTreeSet<Key>,
    ) {
        if keys.is_empty() {
            return;
        }
        let frame = encode_frame(message, now, &self.metadata(), self.number);
        for key in keys {
            context.deliver(*key, frame.clone());
        }
    }
}
