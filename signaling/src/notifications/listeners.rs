//! The sessions that listen to their user's notifications, and the batching windows of these users.
//!
//! ```text
//! stored       like 5     like 6   comment 7          like 8
//!               |          |          |                 |
//! window        [---------------------------]           [------ ...
//! sent                              comment (no seq)    |
//!                                            batch 5, 6 (seq 7)
//! ```
//!
//! A high one that overtakes collected ones carries no position, and the batch behind it that of all: a client that comes back
//! with the last position it saw has missed nothing before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::context::{Context, encode_frame};
use crate::envelope::Metadata;
use crate::id::{Channel, UserId};
use crate::message::ServerMessage;
use crate::message::notifications::{NotificationBatch, NotificationView, UnreadCount};
use crate::outbox::Frame;
use crate::session::Key;
use crate::store::notifications::{Preferences, Priority};
use crate::time::Now;

use super::preferences::is_quiet;

/// The users who listen on this node.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) users: BTreeMap<UserId, Listener>,
    /// When the window of a user ends.
    windows: BTreeSet<(Instant, UserId)>,
}

/// A user with a session that listens.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) ears: BTreeMap<Key, Ear>,
    pub(super) epoch: String,
    pub(super) preferences: Preferences,
    /// The position up to which everything was told, collected, or known to those who listen.
    pub(super) heard_seq: u64,
    /// Set while the store is asked for what was skipped: the largest `seq` that went by since then.
    pub(super) repairs_up_to: Option<u64>,
    /// What was collected since the window began, oldest first; each line once, as it is now.
    pub(super) collected: Vec<NotificationView>,
    window_ends: Option<Instant>,
    /// The newest unread count is that of something collected, and is told with it.
    holds_count: bool,
    held_count: Option<u64>,
}

/// A session that listens.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// None until the store has said how things stand.
    pub(super) open: Option<Open>,
    /// The largest `seq` that went by before that.
    pub(super) heard: u64,
}

#[derive(Debug)]
pub(super) struct Open {
    /// What `subscribed` stood for; only what came later is told.
    pub(super) from_seq: u64,
    /// The unread count that it knows.
    pub(super) unread: u64,
}

impl Listeners {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.windows.first().map(|(at, _)| *at)
    }

    /// Sends what was collected in windows that end now.
    pub(super) fn flush_due(&mut self, context: &mut Context, now: Now) {
        while self.windows.first().is_some_and(|(at, _)| *at <= now.mono) {
            if let Some((_, user)) = self.windows.pop_first()
                && let Some(listener) = self.users.get_mut(&user)
            {
                listener.flush(context, now);
            }
        }
    }

    pub(super) fn remove(&mut self, user: &UserId, key: Key) {
        let Some(listener) = self.users.get_mut(user) else {
            return;
        };
        listener.ears.remove(&key);
        if listener.ears.is_empty()
            && let Some(listener) = self.users.remove(user)
            && let Some(at) = listener.window_ends
        {
            self.windows.remove(&(at, user.clone()));
        }
    }

    /// One is stored. When those before it were never heard of, nothing is told, and the store must be asked for
    /// everything after the position that is answered.
    pub(super) fn hear(
        &mut self,
        context: &mut Context,
        now: Now,
        user: &UserId,
        view: NotificationView,
    ) -> Option<u64> {
        let listener = self.users.get_mut(user)?;
        for ear in listener.ears.values_mut() {
            ear.heard = ear.heard.max(view.seq);
        }
        listener.open_ears().next()?;
        if let Some(up_to) = &mut listener.repairs_up_to {
            *up_to = view.seq.max(*up_to);
            return None;
        }
        if view.seq > listener.heard_seq + 1 {
            listener.repairs_up_to = Some(view.seq);
            return Some(listener.heard_seq);
        }
        self.tell(context, now, user, view);
        None
    }

    /// Tells one, or collects it.
    pub(super) fn tell(
        &mut self,
        context: &mut Context,
        now: Now,
        user: &UserId,
        view: NotificationView,
    ) {
        let Some(listener) = self.users.get_mut(user) else {
            return;
        };
        listener.heard_seq = listener.heard_seq.max(view.seq);
        let keys = listener.ears_before(view.seq);
        if keys.is_empty() || is_quiet(&listener.preferences, now.wall_ms) {
            return;
        }
        if view.priority == Priority::High {
            listener.holds_count = false;
            let seq = listener.collected.is_empty().then_some(view.seq);
            let about = listener.about(seq);
            let message = ServerMessage::NewNotification(view);
            let frame = encode_frame(&message, now.wall_ms, &about, 0);
            return deliver(context, keys, &frame);
        }
        listener.holds_count = true;
        listener.collected.retain(|line| line.id != view.id);
        listener.collected.push(view);
        if listener.collected.len() >= context.config.notifications.batch_max {
            context.stats.notification_batches_full += 1;
            if let Some(at) = listener.window_ends {
                self.windows.remove(&(at, user.clone()));
            }
            listener.flush(context, now);
        } else if listener.window_ends.is_none() {
            let at = now.mono + context.config.notifications.batch_window;
            listener.window_ends = Some(at);
            self.windows.insert((at, user.clone()));
        }
    }
}

impl Listener {
    pub(super) fn open_ears(&self) -> impl Iterator<Item = (Key, &Open)> {
        self.ears
            .iter()
            .filter_map(|(key, ear)| Some((*key, ear.open.as_ref()?)))
    }

    /// Those whose subscription began before a position.
    fn ears_before(&self, seq: u64) -> Vec<Key> {
        let before = self.open_ears().filter(|(_, open)| open.from_seq < seq);
        before.map(|(key, _)| key).collect()
    }

    fn about(&self, seq: Option<u64>) -> Metadata {
        about(seq.map(|seq| (seq, self.epoch.as_str())))
    }

    /// The window ends: what was collected goes out as one message, then the count it led to.
    fn flush(&mut self, context: &mut Context, now: Now) {
        self.window_ends = None;
        self.holds_count = false;
        let lines = std::mem::take(&mut self.collected);
        if !is_quiet(&self.preferences, now.wall_ms) {
            self.tell_batch(context, now, &lines);
        }
        if let Some(count) = self.held_count.take() {
            self.tell_unread(context, now, count);
        }
    }

    fn tell_batch(&self, context: &mut Context, now: Now, lines: &[NotificationView]) {
        let about = self.about(Some(self.heard_seq));
        let encode = |notifications: Vec<NotificationView>| {
            let batch = NotificationBatch { notifications };
            let message = ServerMessage::NotificationBatch(batch);
            encode_frame(&message, now.wall_ms, &about, 0)
        };
        let Some(first) = lines.first() else {
            return;
        };
        let all = self.ears_before(first.seq);
        let some = self.open_ears().filter(|(key, _)| !all.contains(key));
        // Who subscribed while it was collected knows the first of them from the store.
        for (key, open) in some {
            let new = lines.iter().filter(|line| line.seq > open.from_seq);
            let new: Vec<NotificationView> = new.cloned().collect();
            if !new.is_empty() {
                context.deliver(key, encode(new));
            }
        }
        if !all.is_empty() {
            context.stats.notification_batches += 1;
            deliver(context, all, &encode(lines.to_vec()));
        }
    }

    /// Tells the unread count to those who do not know it.
    pub(super) fn tell_unread(&mut self, context: &mut Context, now: Now, count: u64) {
        let grows = self.open_ears().all(|(_, open)| open.unread <= count);
        if self.holds_count && !self.collected.is_empty() && grows {
            self.held_count = Some(count);
            return;
        }
        self.held_count = None;
        let mut keys = Vec::new();
        for (key, ear) in &mut self.ears {
            if let Some(open) = &mut ear.open
                && open.unread != count
            {
                open.unread = count;
                keys.push(*key);
            }
        }
        if !keys.is_empty() {
            let message = ServerMessage::UnreadCount(UnreadCount { count });
            let frame = encode_frame(&message, now.wall_ms, &about(None), 0);
            deliver(context, keys, &frame);
        }
    }
}

/// Metadata of this channel, with a position or without.
pub(super) fn about(position: Option<(u64, &str)>) -> Metadata {
    Metadata {
        channel: Some(Channel::Notifications.to_string()),
        seq: position.map(|(seq, _)| seq),
        epoch: position.map(|(_, epoch)| epoch.to_owned()),
        ..Metadata::default()
    }
}

pub(super) fn deliver(context: &mut Context, keys: Vec<Key>, frame: &Frame) {
    for key in keys {
        context.deliver(key, frame.clone());
    }
}
