//! One live stream: who publishes, who watches, what is said, and its life cycle.
//!
//! A stream has a *run* from `start_stream` or the first publish until it ends; it is *live* from the moment its media is
//! first heard. The life of a run is in `live/run.rs`, rules of the publisher in `live/publisher.rs`, of viewers in
//! `live/viewers.rs`, of their connections in `live/negotiation.rs`, of comments and reactions in `live/comments.rs` and
//! `live/reactions.rs`; who may not be here is decided by `moderation.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::api::StreamSummary;
use crate::broker::Publication;
use crate::channel::Room;
use crate::context::{Context, Waiting};
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{Channel, RequestId, StreamName};
use crate::message::ClientMessage;
use crate::message::connection::{ChannelState, Position};
use crate::message::live::{LiveState, Permissions, SettingsView};
use crate::moderation::{House, Moderation};
use crate::peers::Requester;
use crate::presence::Presence;
use crate::session::Key;
use crate::store::{Comment, Role, Settings, StoreError, StoreOk, StoreOp, StoreReply, StoredRole};
use crate::time::Now;

mod comments;
mod negotiation;
pub(crate) mod publisher;
mod reactions;
mod run;
mod viewers;

use comments::Comments;
use reactions::Reactions;
use run::Run;
use viewers::Viewers;

/// What follows when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {
    /// The stream's state is there.
    Load,
    /// A comment is stored: acknowledge and broadcast it.
    Comment {
        comment: Comment,
        requesters: Vec<Requester>,
    },
    /// A comment is deleted.
    Delete {
        id: String,
        by: Caller,
        requester: Requester,
    },
    /// A ban, unban or timeout is stored.
    Moderate {
        moderation: Moderation,
        requester: Requester,
    },
    /// A role is stored.
    Role {
        user: crate::id::UserId,
        role: Option<StoredRole>,
        by: Caller,
        requester: Requester,
    },
    /// Settings are stored.
    Settings {
        settings: Settings,
        pinned: Option<Comment>,
        by: Caller,
        requester: Option<Requester>,
    },
    /// A record for later; nothing waits for it.
    Record,
}

/// Something that waits until the stream's state is loaded.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// A subscription.
    Subscribe {
        key: Key,
        id: Option<String>,
        since: Option<Position>,
    },
    /// Another message of a session.
    Message {
        key: Key,
        id: Option<String>,
        message: ClientMessage,
    },
    /// A request over HTTP.
    Http {
        request: RequestId,
        caller: Caller,
        wanted: Wanted,
    },
}

/// What HTTP asks of one stream.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Whether the caller may be here.
    Admission,
    /// WHIP POST.
    Publish { offer: String },
    /// WHEP POST.
    Watch {
        offer: String,
        wait: Option<Duration>,
    },
}

/// One live stream.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) stream: StreamName,
    pub(crate) room: Room,
    /// Subscribers who see joins and leaves, statistics and moderation.
    pub(crate) staff: BTreeSet<Key>,
    is_loaded: bool,
    deferred: VecDeque<Deferred>,
    run: Option<Run>,
    viewers: Viewers,
    presence: Presence,
    pub(crate) house: House,
    comments: Comments,
    reactions: Reactions,
    /// Store requests of this stream that are open.
    open_writes: usize,
    idle_since: Option<Instant>,
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

impl Live {
    /// A stream whose state is being loaded.
    pub(crate) fn load(context: &mut Context, now: Now, stream: StreamName) -> Self {
        let room = Room::new(context, Channel::Live(stream.clone()));
        let comments = context.config.chat.recent_comments;
        let op = StoreOp::LoadStream {
            stream: stream.clone(),
            comments,
        };
        context.ask_store(op, Waiting::Live(stream.clone(), Then::Load));
        Self {
            stream,
            room,
            staff: BTreeSet::new(),
            is_loaded: false,
            deferred: VecDeque::new(),
            run: None,
            viewers: Viewers::default(),
            presence: Presence::default(),
            house: House::default(),
            comments: Comments::default(),
            reactions: Reactions::default(),
            open_writes: 1,
            idle_since: Some(now.mono),
            scheduled: None,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::Live(self.stream.clone())
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Whether one more thing may wait for the state.
    pub(crate) fn check_deferred(&self, context: &mut Context) -> Result<(), Error> {
        if self.deferred.len() >= context.config.channel.pending_max {
            context.stats.limits_hit += 1;
            return Err(Error::unavailable("the stream is being loaded"));
        }
        Ok(())
    }

    /// Keeps something for when the state is loaded.
    pub(crate) fn defer(&mut self, deferred: Deferred) {
        self.deferred.push_back(deferred);
    }

    /// The store has answered. What waited for the state is handed back to be done now, or refused.
    pub(crate) fn handle_stored(
        &mut self,
        context: &mut Context,
        now: Now,
        then: Then,
        reply: StoreReply,
    ) -> Option<(VecDeque<Deferred>, Option<Error>)> {
        self.open_writes = self.open_writes.saturating_sub(1);
        let result = reply.result;
        if matches!(result, Err(StoreError::Unavailable(_))) {
            context.stats.store_failures += 1;
        }
        match then {
            Then::Load => return Some(self.handle_loaded(now, result)),
            Then::Comment {
                comment,
                requesters,
            } => self.comment_stored(context, now, comment, requesters, result),
            Then::Delete { id, by, requester } => {
                self.comment_deleted(context, now, id, &by, requester, result);
            }
            Then::Moderate {
                moderation,
                requester,
            } => self.moderated(context, now, moderation, requester, result),
            Then::Role {
                user,
                role,
                by,
                requester,
            } => self.role_set(context, now, user, role, &by, requester, result),
            Then::Settings {
                settings,
                pinned,
                by,
                requester,
            } => self.settings_saved(context, now, settings, pinned, &by, requester, result),
            Then::Record => {}
        }
        None
    }

    fn handle_loaded(
        &mut self,
        now: Now,
        result: Result<StoreOk, StoreError>,
    ) -> (VecDeque<Deferred>, Option<Error>) {
        let deferred = std::mem::take(&mut self.deferred);
        match result {
            Ok(StoreOk::Loaded(state)) => {
                self.is_loaded = true;
                self.comments.restore(state.comments);
                self.house.restore(
                    now,
                    state.bans,
                    state.timeouts,
                    state.roles,
                    state.settings,
                    state.pinned,
                );
                (deferred, None)
            }
            Ok(
                StoreOk::Comment(_) | StoreOk::Done | StoreOk::Chat(_) | StoreOk::Notifications(_),
            )
            | Err(_) => (deferred, Some(unavailable_store())),
        }
    }

    /// What was said to the channel comes back from the broker.
    pub(crate) fn handle_published(&mut self, context: &mut Context, publication: Publication) {
        self.room
            .handle_published(context, publication, &self.staff);
    }

    /// What the caller is on this stream.
    pub(crate) fn role(&self, caller: &Caller) -> Role {
        self.house.role(&self.stream, caller)
    }

    /// Whether the caller may moderate here.
    pub(crate) fn is_staff(&self, caller: &Caller) -> bool {
        self.role(caller) >= Role::Moderator
    }

    /// Whether the caller may be here.
    ///
    /// # Errors
    /// `forbidden` for who is banned, was just kicked, or may not watch.
    pub(crate) fn admit(&self, now: Now, caller: &Caller) -> Result<(), Error> {
        if !caller.grants.may_watch(&self.stream) {
            return Err(Error::forbidden("the token does not grant watch"));
        }
        self.house.admit(now, &self.stream, caller)
    }

    /// Subscribes a session.
    ///
    /// # Errors
    /// As [`Live::admit`].
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        since: Option<&Position>,
    ) -> Result<(), Error> {
        let Some(session) = context.sessions.get_mut(key) else {
            return Ok(());
        };
        let caller = session.caller.clone();
        self.admit(now, &caller)?;
        session
            .subscriptions
            .insert(Channel::Live(self.stream.clone()));
        let state = ChannelState::Live(Box::new(self.state(now, &caller)));
        self.room.subscribe(context, now, key, since, state);
        self.refresh_staff(key, &caller);
        Ok(())
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, context: &mut Context, key: Key) {
        self.room.unsubscribe(key);
        self.staff.remove(&key);
        if let Some(session) = context.sessions.get_mut(key) {
            session
                .subscriptions
                .remove(&Channel::Live(self.stream.clone()));
        }
    }

    pub(crate) fn is_subscribed(&self, key: Key) -> bool {
        self.room.subscribers().contains(&key)
    }

    /// Counts a subscriber among the staff, or no longer.
    pub(crate) fn refresh_staff(&mut self, key: Key, caller: &Caller) {
        if self.is_subscribed(key) && self.is_staff(caller) {
            self.staff.insert(key);
        } else {
            self.staff.remove(&key);
        }
    }

    /// A session has new grants: what they no longer allow ends here.
    pub(crate) fn handle_new_grants(&mut self, context: &mut Context, now: Now, key: Key) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        let caller = session.caller.clone();
        let watched = session.watches.get(&self.stream).copied();
        if !caller.grants.may_watch(&self.stream) {
            self.unsubscribe(context, key);
            if let Some(media) = watched {
                self.close_viewer(context, now, media, "forbidden");
            }
        }
        if !caller.grants.may_publish(&self.stream) {
            self.close_publisher_of(context, now, key, "forbidden");
        }
        self.refresh_staff(key, &caller);
    }

    fn state(&self, now: Now, caller: &Caller) -> LiveState {
        let run = self.run.as_ref().filter(|run| run.started.is_some());
        let (grants, is_staff) = (&caller.grants, self.is_staff(caller));
        LiveState {
            live: run.is_some(),
            stream_id: run.map(|_| self.stream.clone()),
            title: run.map(|run| run.title.clone()).unwrap_or_default(),
            tags: run.map(|run| run.tags.clone()).unwrap_or_default(),
            started_at: run.and_then(|run| Some(run.started?.wall_ms)),
            streamer: run.map(|run| run.streamer.clone()),
            viewers: self.viewers.count(),
            tracks: run.map(|run| run.tracks.clone()).unwrap_or_default(),
            role: self.role(caller),
            permissions: Permissions {
                publish: grants.may_publish(&self.stream),
                moderate: is_staff,
                chat: grants.may_chat(&self.stream) || is_staff,
            },
            settings: self.settings_view(),
            comments: self.comments.views(),
            timed_out_until: self.house.timed_out_until(now, &caller.user.id),
        }
    }

    pub(crate) fn settings_view(&self) -> SettingsView {
        self.house.settings_view()
    }

    /// The entry of the directory; none while not live.
    pub(crate) fn summary(&self) -> Option<StreamSummary> {
        let run = self.run.as_ref()?;
        Some(StreamSummary {
            id: self.stream.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            started_at: run.started?.wall_ms,
            viewers: self.viewers.count(),
            tracks: run.tracks.clone(),
            streamer: run.streamer.clone(),
        })
    }

    pub(crate) fn viewers_count(&self) -> u64 {
        self.viewers.count()
    }

    /// Whether nothing here would be missed: nobody subscribes, watches or publishes, and nothing is open.
    fn is_idle(&self) -> bool {
        self.room.subscribers().is_empty()
            && self.run.is_none()
            && self.viewers.is_empty()
            && self.deferred.is_empty()
            && self.open_writes == 0
            && self.presence.is_quiet()
    }

    /// Notes since when the stream is idle; true when it may be forgotten.
    pub(crate) fn settle(&mut self, context: &Context, now: Now) -> bool {
        if !self.is_idle() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now.mono);
        // Without a message in this epoch there is nothing that a later subscriber could recover, and a kick that is
        // not over yet must be remembered.
        let may_go_at_once = self.room.last_seq() == 0 && !self.house.has_kicks(now);
        may_go_at_once || !self.is_loaded || now.mono >= since + context.config.channel.linger
    }

    /// Since when nobody needs it.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// When something is next due.
    pub(crate) fn deadline(&self, context: &Context) -> Option<Instant> {
        let idle = self.idle_since.map(|at| at + context.config.channel.linger);
        [
            idle,
            self.run_deadline(context),
            self.viewers.deadline(&context.config.live),
            self.presence.deadline(&context.config.live),
            self.reactions.deadline(&context.config.chat),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, context: &mut Context, now: Now) {
        self.expire_run(context, now);
        self.expire_waiting(context, now);
        self.flush_viewers(context, now);
        self.flush_presence(context, now);
        self.flush_reactions(context, now);
    }

    pub(crate) fn ask_store(
        &mut self,
        context: &mut Context,
        op: StoreOp,
        then: Then,
    ) -> crate::store::StoreId {
        self.open_writes += 1;
        context.ask_store(op, Waiting::Live(self.stream.clone(), then))
    }

    /// Whether one more write may wait for the store.
    pub(crate) fn check_writes(&self, context: &mut Context) -> Result<(), Error> {
        if self.open_writes >= context.config.chat.pending_writes_max {
            context.stats.limits_hit += 1;
            return Err(unavailable_store());
        }
        Ok(())
    }
}

pub(crate) fn unavailable_store() -> Error {
    Error::unavailable("the store does not answer; nothing was changed")
        .retry_after(Duration::from_secs(1))
}
