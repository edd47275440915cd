//! Subscriptions, and what was published: told to those of a user's sessions that listen, by the rules of `listeners.rs`.

use crate::broker::{Audience, Publication};
use crate::context::{Context, encode_frame, object};
use crate::error::Error;
use crate::id::{Channel, SessionId, UserId};
use crate::message::ServerMessage;
use crate::message::connection::{ChannelState, Position, Subscribed};
use crate::message::notifications::{
    NotificationBatch, NotificationView, NotificationsState, UnreadCount,
};
use crate::outbox::Frame;
use crate::session::Key;
use crate::store::notifications::{Notification, NotificationOk, NotificationOp, Priority};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

use super::listeners::{Listener, Open, about, deliver};
use super::preferences::is_quiet;
use super::{Notifications, Then, unavailable_store};

/// A subscription that waits for the store.
#[derive(Debug)]
pub(crate) struct Load {
    user: UserId,
    key: Key,
    /// A session that moves to another socket subscribes anew there.
    socket: Option<SessionId>,
    id: Option<String>,
    since: Option<Position>,
}

impl Notifications {
    /// Subscribes a session to its own notifications. `id` is none for the channel of the path.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        since: Option<Position>,
    ) {
        if let Err(error) = self.check_open(context) {
            return context.refuse(now, key, id, error);
        }
        let Some(session) = context.sessions.get_mut(key) else {
            return;
        };
        session.subscriptions.insert(Channel::Notifications);
        let load = Load {
            user: session.caller.user.id.clone(),
            key,
            socket: session.socket,
            id,
            since,
        };
        let listener = self.listeners.users.entry(load.user.clone()).or_default();
        listener.ears.entry(key).or_default();
        self.load(context, load);
    }

    fn load(&mut self, context: &mut Context, load: Load) {
        let op = NotificationOp::Load {
            user: load.user.clone(),
            since: load.since.as_ref().map(|since| since.seq),
            limit: context.config.notifications.recovery_max,
        };
        self.ask(context, op, Then::Load(load));
    }

    /// Ends a subscription. What was collected for a user whom nobody hears any more stays in the store.
    pub(crate) fn unsubscribe(&mut self, context: &mut Context, key: Key) {
        let Some(session) = context.sessions.get_mut(key) else {
            return;
        };
        session.subscriptions.remove(&Channel::Notifications);
        let user = session.caller.user.id.clone();
        self.listeners.remove(&user, key);
    }

    /// The store has said how things stand: the subscription begins.
    pub(super) fn loaded(
        &mut self,
        context: &mut Context,
        now: Now,
        load: Load,
        result: Result<StoreOk, StoreError>,
    ) {
        let session = context.sessions.get(load.key);
        if session.is_none_or(|session| session.socket != load.socket) {
            return;
        }
        let listener = self.listeners.users.get_mut(&load.user);
        let listener = listener.and_then(|l| Some((l.ears.get(&load.key)?.heard, l)));
        let Some((heard, listener)) = listener else {
            let error = Error::conflict("unsubscribed before the subscription began");
            return context.refuse(now, load.key, load.id, error);
        };
        let Ok(StoreOk::Notifications(NotificationOk::Loaded {
            epoch,
            last_seq,
            unread,
            preferences,
            missed,
        })) = result
        else {
            if listener.open_ears().all(|(key, _)| key != load.key) {
                self.unsubscribe(context, load.key);
            }
            return context.refuse(now, load.key, load.id, unavailable_store());
        };
        if heard > last_seq {
            // Told by another node after the store had answered: it is in the store by now.
            return self.load(context, load);
        }
        if listener.open_ears().next().is_none() {
            listener.heard_seq = last_seq;
        }
        listener.epoch.clone_from(&epoch);
        listener.preferences = preferences.clone();
        if let Some(ear) = listener.ears.get_mut(&load.key) {
            ear.open = Some(Open {
                from_seq: last_seq,
                unread,
            });
        }
        let missed = load
            .since
            .as_ref()
            .filter(|since| since.epoch == epoch && !is_quiet(&preferences, now.wall_ms))
            .and_then(|_| missed_frames(context, now, &epoch, missed?));
        if load.since.is_some() {
            match &missed {
                Some(_) => context.stats.recoveries += 1,
                None => context.stats.recovery_failures += 1,
            }
        }
        let seq = match (&missed, &load.since) {
            (Some(_), Some(since)) => since.seq,
            _ => last_seq,
        };
        let subscribed = subscribed(listener, seq, missed.is_some(), unread);
        context.send(now, load.key, &subscribed, &about(None));
        let message = ServerMessage::UnreadCount(UnreadCount { count: unread });
        context.send(now, load.key, &message, &about(None));
        for frame in missed.into_iter().flatten() {
            context.deliver(load.key, frame);
        }
        context.ack(now, load.key, load.id, object([]));
    }

    /// What was said to somebody comes back from the broker.
    pub(crate) fn handle_published(
        &mut self,
        context: &mut Context,
        now: Now,
        publication: Publication,
    ) {
        let (user, except) = if let Audience::User(user) = publication.audience {
            (user, None)
        } else if let Audience::Elsewhere { user, session } = publication.audience {
            (user, Some(session))
        } else {
            return;
        };
        let message = publication.message;
        if let ServerMessage::NewNotification(view) = message {
            self.forget_read_room(&user, view.group_key.as_deref());
            if let Some(since) = self.listeners.hear(context, now, &user, view) {
                self.repair(context, user, since);
            }
            return;
        }
        let Some(listener) = self.listeners.users.get_mut(&user) else {
            return;
        };
        if let ServerMessage::UnreadCount(UnreadCount { count }) = message {
            return listener.tell_unread(context, now, count);
        }
        if let ServerMessage::PreferencesUpdated(preferences) = &message {
            listener.preferences = preferences.clone();
        }
        // What was read elsewhere before its window ended is not new any more.
        for view in &mut listener.collected {
            view.read |= matches!(message, ServerMessage::MarkAllRead(_))
                || matches!(&message, ServerMessage::NotificationRead(read)
                    if read.id.as_str() == view.id);
        }
        let mut keys: Vec<Key> = listener.open_ears().map(|(key, _)| key).collect();
        if let Some(session) = except {
            keys.retain(|key| !context.sessions.is_named(*key, &session));
        }
        if !keys.is_empty() {
            let frame = encode_frame(&message, publication.at_ms, &about(None), 0);
            deliver(context, keys, &frame);
        }
    }

    /// Something was stored and never told here: the store has it.
    fn repair(&mut self, context: &mut Context, user: UserId, since: u64) {
        context.stats.notification_gaps += 1;
        let op = NotificationOp::Load {
            user: user.clone(),
            since: Some(since),
            limit: context.config.notifications.recovery_max,
        };
        self.ask(context, op, Then::Repaired { user, since });
    }

    /// What was skipped is there, and is told in order; or those who listen are told that there is a gap.
    pub(super) fn repaired(
        &mut self,
        context: &mut Context,
        now: Now,
        user: UserId,
        since: u64,
        result: Result<StoreOk, StoreError>,
    ) {
        let Some(listener) = self.listeners.users.get_mut(&user) else {
            return;
        };
        // None when those who listened are gone, and others have come with positions of their own.
        let Some(up_to) = listener.repairs_up_to.take() else {
            return;
        };
        if let Ok(StoreOk::Notifications(NotificationOk::Loaded {
            last_seq,
            missed: Some(missed),
            ..
        })) = result
        {
            if up_to > last_seq {
                listener.repairs_up_to = Some(up_to);
                return self.repair(context, user, since);
            }
            for notification in missed {
                self.listeners
                    .tell(context, now, &user, notification.into());
            }
            if let Some(listener) = self.listeners.users.get_mut(&user) {
                listener.heard_seq = last_seq;
            }
            return;
        }
        // Whoever reads the list finds what was collected as well.
        listener.collected.clear();
        listener.heard_seq = up_to;
        let knows: Vec<(Key, u64)> = listener
            .open_ears()
            .map(|(key, open)| (key, open.unread))
            .collect();
        for (key, unread) in knows {
            let subscribed = subscribed(listener, up_to, false, unread);
            context.send(now, key, &subscribed, &about(None));
        }
    }
}

fn subscribed(listener: &Listener, seq: u64, recovered: bool, unread: u64) -> ServerMessage {
    let state = NotificationsState {
        unread,
        preferences: listener.preferences.clone(),
    };
    ServerMessage::Subscribed(Box::new(Subscribed {
        channel: Channel::Notifications,
        epoch: listener.epoch.clone(),
        seq,
        recovered,
        state: ChannelState::Notifications(state),
    }))
}

/// What was missed, as it would have been told: high ones by themselves, medium ones between them together. None when it is
/// more than a session's outbox should take at once.
fn missed_frames(
    context: &Context,
    now: Now,
    epoch: &str,
    missed: Vec<Notification>,
) -> Option<Vec<Frame>> {
    let batch_max = context.config.notifications.batch_max;
    let mut messages: Vec<(u64, ServerMessage)> = Vec::new();
    for notification in missed {
        let view = NotificationView::from(notification);
        let seq = view.seq;
        if view.priority == Priority::High {
            messages.push((seq, ServerMessage::NewNotification(view)));
        } else if let Some((last, ServerMessage::NotificationBatch(batch))) = messages.last_mut()
            && batch.notifications.len() < batch_max
        {
            batch.notifications.push(view);
            *last = seq;
        } else {
            let notifications = vec![view];
            let batch = NotificationBatch { notifications };
            messages.push((seq, ServerMessage::NotificationBatch(batch)));
        }
    }
    let encode = |(seq, message): &(u64, ServerMessage)| {
        encode_frame(message, now.wall_ms, &about(Some((*seq, epoch))), 0)
    };
    let frames: Vec<Frame> = messages.iter().map(encode).collect();
    let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    (bytes <= context.config.channel.history_bytes).then_some(frames)
}
