//! A channel: its subscribers, its life (epoch), and the positions of its persistent messages.

use std::collections::BTreeSet;

use crate::broker::{Audience, Publication};
use crate::context::{Context, encode_frame};
use crate::envelope::Metadata;
use crate::history::History;
use crate::id::{Channel, UserId};
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
    /// The newest position given out; the history follows when it comes back from the broker.
    last_seq: u64,
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
            last_seq: 0,
            history,
            subscribers: BTreeSet::new(),
        }
    }

    pub(crate) fn subscribers(&self) -> &BTreeSet<Key> {
        &self.subscribers
    }

    /// The newest position given out; 0 before the first.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
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

    /// Says something that takes a position and is kept for those who come back.
    pub(crate) fn publish(&mut self, context: &mut Context, now: Now, message: &ServerMessage) {
        self.last_seq += 1;
        context.publish(Publication {
            channel: self.name.clone(),
            audience: Audience::All,
            position: Some(Position {
                epoch: self.epoch.clone(),
                seq: self.last_seq,
            }),
            message: message.clone(),
            at_ms: now.wall_ms,
        });
    }

    /// Says something that only those hear who are there.
    pub(crate) fn broadcast(
        &self,
        context: &mut Context,
        now: Now,
        audience: Audience,
        message: &ServerMessage,
    ) {
        context.publish(Publication {
            channel: self.name.clone(),
            audience,
            position: None,
            message: message.clone(),
            at_ms: now.wall_ms,
        });
    }

    /// What was said comes back from the broker: it is encoded once and handed to those who may hear it.
    pub(crate) fn handle_published(
        &mut self,
        context: &mut Context,
        publication: Publication,
        staff: &BTreeSet<Key>,
    ) {
        let (seq, epoch) = match publication.position {
            // An earlier life of the channel: its subscribers are told the new epoch when they come back.
            Some(position) if position.epoch != self.epoch => return,
            Some(position) => (Some(position.seq), Some(position.epoch)),
            None => (None, None),
        };
        let about = Metadata {
            seq,
            epoch,
            ..self.metadata()
        };
        let message = &publication.message;
        let frame = encode_frame(message, publication.at_ms, &about, self.number);
        match &publication.audience {
            Audience::All => deliver_all(context, &self.subscribers, &frame),
            Audience::Staff => deliver_all(context, staff, &frame),
            Audience::Except(users) => {
                let theirs = keys_of(context, users);
                for key in self.subscribers.difference(&theirs) {
                    context.deliver(*key, frame.clone());
                }
            }
            Audience::User(user) => {
                let own = keys_of(context, std::slice::from_ref(user));
                for key in self.subscribers.intersection(&own) {
                    context.deliver(*key, frame.clone());
                }
            }
            Audience::Elsewhere { user, session } => {
                let own: BTreeSet<Key> = context.sessions.of_user(user).collect();
                for key in self.subscribers.intersection(&own) {
                    if !context.sessions.is_named(*key, session) {
                        context.deliver(*key, frame.clone());
                    }
                }
            }
            Audience::Users(users) => {
                let theirs = keys_of(context, users);
                for key in self.subscribers.intersection(&theirs) {
                    context.deliver(*key, frame.clone());
                }
            }
        }
        if seq.is_some() {
            self.history.push(frame);
        }
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
        let frame = encode_frame(message, now.wall_ms, &self.metadata(), self.number);
        deliver_all(context, keys, &frame);
    }
}

/// The sessions of some users.
fn keys_of(context: &Context, users: &[UserId]) -> BTreeSet<Key> {
    let sessions = &context.sessions;
    users
        .iter()
        .flat_map(|user| sessions.of_user(user))
        .collect()
}

fn deliver_all(context: &mut Context, keys: &BTreeSet<Key>, frame: &Frame) {
    for key in keys {
        context.deliver(*key, frame.clone());
    }
}
