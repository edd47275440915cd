//! Notifications: stored first, high ones told at once, medium ones in batches, folded by group key.
//!
//! What is to be stored goes through `notifications/jobs.rs`: requests of an application, and what the server notices by
//! itself (`notifications/notices.rs`). What is stored is published, and comes back to `notifications/delivery.rs`; the
//! batching windows of the users who are connected here are in `notifications/listeners.rs`. `notifications/reading.rs` serves the reader: lists, marks and
//! preferences.

use std::time::Instant;

use crate::api;
use crate::broker::{Audience, Publication};
use crate::context::{Context, Waiting};
use crate::error::Error;
use crate::grants::{Caller, User};
use crate::id::{Channel, RequestId, RoomId, StreamName, UserId};
use crate::message::live::StreamStarted;
use crate::message::notifications::UnreadCount;
use crate::message::{ClientMessage, ServerMessage};
use crate::session::Key;
use crate::store::chat::RoomKind;
use crate::store::notifications::NotificationOp;
use crate::store::{StoreError, StoreOk, StoreOp};
use crate::time::Now;

mod delivery;
mod followers;
mod jobs;
mod kind;
mod listeners;
mod notices;
mod preferences;
mod reading;
mod retention;

use delivery::Load;
use jobs::{Job, Jobs};
use listeners::Listeners;
use notices::{LiveNotices, ReadRooms};
use reading::Mark;
use retention::Retention;

/// What the server notifies of by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A message was written while some members were not looking at the room.
    Message {
        room: RoomId,
        kind: RoomKind,
        title: Option<String>,
        sender: User,
        text: String,
        /// Who was not looking.
        recipients: Vec<UserId>,
    },
    /// A member has read a room up to its newest message.
    RoomRead { room: RoomId, user: UserId },
    /// A stream went live.
    StreamLive {
        stream: StreamName,
        streamer: User,
        title: String,
    },
}

impl Notice {
    pub(crate) fn stream_live(started: &StreamStarted) -> Self {
        Self::StreamLive {
            stream: started.stream_id.clone(),
            streamer: started.streamer.clone(),
            title: started.title.clone(),
        }
    }
}

/// What follows when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {
    /// A subscription begins.
    Load(Load),
    /// What was skipped is there.
    Repaired { user: UserId, since: u64 },
    /// A part of a job is stored.
    Added(Box<Job>),
    /// A page of followers is there for a job.
    Followed(Box<Job>),
    /// One or all are marked as read.
    Marked(Box<Mark>),
    /// The notification of a room is marked as read.
    RoomRead { room: RoomId, user: UserId },
    /// A page for an HTTP request.
    Listed(RequestId),
    /// Preferences for an HTTP request.
    Preferences(RequestId),
    /// Preferences are saved.
    Saved { request: RequestId, user: UserId },
    /// Followers for an HTTP request.
    Followers(RequestId),
    /// Old rows are deleted.
    Purged,
}

/// Everybody's notifications.
#[derive(Debug)]
pub(crate) struct Notifications {
    listeners: Listeners,
    jobs: Jobs,
    live: LiveNotices,
    read_rooms: ReadRooms,
    retention: Retention,
    /// Store requests that are not answered.
    open: usize,
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self {
            listeners: Listeners::default(),
            jobs: Jobs::default(),
            live: LiveNotices::default(),
            read_rooms: ReadRooms::default(),
            retention: Retention::default(),
            open: 0,
            scheduled: None,
        }
    }

    /// `notification_read` or `mark_all_read` of a session.
    pub(crate) fn message(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        message: ClientMessage,
    ) {
        if let Err(error) = self.mark_by_session(context, now, key, id.clone(), message) {
            context.refuse(now, key, id, error);
        }
    }

    /// A request over HTTP.
    pub(crate) fn request(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: Caller,
        ask: api::Request,
    ) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "hub/request.rs hands over only what this module answers"
        )]
        let result = match ask {
            api::Request::Notify(notify) => self.notify(context, now, request, &caller, *notify),
            api::Request::ChangeFollowers { stream, change } => {
                self.change_followers(context, now, request, &caller, stream, change)
            }
            api::Request::ListFollowers {
                stream,
                after,
                limit,
            } => self.list_followers(context, request, &caller, stream, after, limit),
            api::Request::MarkNotificationRead { id } => {
                self.mark_by_http(context, now, request, caller, Some(&id))
            }
            api::Request::MarkAllNotificationsRead => {
                self.mark_by_http(context, now, request, caller, None)
            }
            api::Request::ListNotifications {
                unread_only,
                before,
                limit,
            } => self.list(context, request, caller, unread_only, before, limit),
            api::Request::GetPreferences => self.load_preferences(context, request, caller),
            api::Request::SetPreferences(preferences) => {
                self.save_preferences(context, request, caller, preferences)
            }
            _ => Err(Error::not_found("there is no such request")),
        };
        if let Err(error) = result {
            context.reply(request, Err(error));
        }
    }

    /// The store has answered.
    pub(crate) fn handle_stored(
        &mut self,
        context: &mut Context,
        now: Now,
        then: Then,
        result: Result<StoreOk, StoreError>,
    ) {
        self.open = self.open.saturating_sub(1);
        if matches!(result, Err(StoreError::Unavailable(_))) {
            context.stats.store_failures += 1;
        }
        match then {
            Then::Load(load) => self.loaded(context, now, load, result),
            Then::Repaired { user, since } => self.repaired(context, now, user, since, result),
            Then::Added(job) => self.added(context, now, job, result),
            Then::Followed(job) => self.followed(context, now, job, result),
            Then::Marked(mark) => Self::marked(context, now, *mark, result),
            Then::RoomRead { room, user } => self.room_read(context, now, room, user, result),
            Then::Listed(request) => reading::listed(context, request, result),
            Then::Preferences(request) => reading::preferences(context, request, result),
            Then::Saved { request, user } => {
                reading::preferences_saved(context, now, request, user, result);
            }
            Then::Followers(request) => followers::answered(context, request, result),
            Then::Purged => self.retention.purged(context, now, result),
        }
    }

    /// When something is next due. The first call starts the clock of the retention.
    pub(crate) fn deadline(&mut self, now: Now) -> Option<Instant> {
        [
            self.listeners.deadline(),
            self.jobs.deadline(),
            self.retention.deadline(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, context: &mut Context, now: Now) {
        self.listeners.flush_due(context, now);
        while let Some(job) = self.jobs.next_due(now) {
            self.advance(context, now, job);
        }
        if let Some(op) = self.retention.due(context, now) {
            self.ask(context, op, Then::Purged);
        }
    }

    fn ask(&mut self, context: &mut Context, op: NotificationOp, then: Then) {
        self.open += 1;
        context.ask_store(StoreOp::Notifications(op), Waiting::Notifications(then));
    }

    /// Whether somebody's request may still wait for the store.
    fn check_open(&self, context: &mut Context) -> Result<(), Error> {
        if self.open >= context.config.notifications.pending_max {
            context.stats.limits_hit += 1;
            return Err(Error::unavailable("too much waits for the store"));
        }
        Ok(())
    }
}

/// Says something to a user's own channel.
fn tell(context: &mut Context, now: Now, audience: Audience, message: ServerMessage) {
    context.publish(Publication {
        channel: Channel::Notifications,
        audience,
        position: None,
        message,
        at_ms: now.wall_ms,
    });
}

fn tell_unread(context: &mut Context, now: Now, user: &UserId, count: u64) {
    let message = ServerMessage::UnreadCount(UnreadCount { count });
    tell(context, now, Audience::User(user.clone()), message);
}

fn unavailable_store() -> Error {
    Error::unavailable("the store is unavailable")
}
