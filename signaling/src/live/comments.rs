//! Comments: checked, paced, stored, then acknowledged, then broadcast.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::config;
use crate::context::{Context, Waiting, object};
use crate::error::{Error, Rule};
use crate::grants::Caller;
use crate::id::UserId;
use crate::live::{Live, Then, unavailable_store};
use crate::message::ServerMessage;
use crate::message::live::{
    CommentDeleted, CommentView, PinComment, RoomSettings, SlowMode, WriteComment,
};
use crate::peers::Requester;
use crate::rate_limit::Bucket;
use crate::session::Key;
use crate::store::{Comment, Role, Settings, StoreError, StoreId, StoreOk, StoreOp};
use crate::time::{Now, rfc3339};

/// The newest comments of a stream, and how fast people write.
#[derive(Debug, Default)]
pub(crate) struct Comments {
    recent: VecDeque<Comment>,
    known: BTreeMap<(UserId, String), Known>,
    known_order: VecDeque<(UserId, String)>,
    writers: BTreeMap<UserId, Writer>,
    writers_order: VecDeque<(Instant, UserId)>,
}

/// A comment whose `client_id` is remembered.
#[derive(Debug)]
enum Known {
    /// The store has not answered.
    Open(StoreId),
    /// What its first sender was acknowledged.
    Stored { id: String, created_at_ms: u64 },
}

#[derive(Debug)]
struct Writer {
    bucket: Bucket,
    last: Instant,
}

impl Comments {
    pub(crate) fn restore(&mut self, comments: Vec<Comment>) {
        self.recent = comments.into();
    }

    pub(crate) fn views(&self) -> Vec<CommentView> {
        self.recent.iter().map(CommentView::from).collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Comment> {
        self.recent.iter().find(|comment| comment.id == id)
    }

    fn push(&mut self, comment: Comment, limits: &config::Chat) {
        self.recent.push_back(comment);
        while self.recent.len() > limits.recent_comments {
            self.recent.pop_front();
        }
    }

    fn remember(&mut self, name: (UserId, String), known: Known, limits: &config::Chat) {
        if self.known.insert(name.clone(), known).is_none() {
            self.known_order.push_back(name);
        }
        if self.known_order.len() > limits.remembered_client_ids
            && let Some(oldest) = self.known_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn forget(&mut self, name: &(UserId, String)) {
        if self.known.remove(name).is_some() {
            self.known_order.retain(|known| known != name);
        }
    }

    /// Whether somebody may write now, by pace and slow mode. Counts it when so.
    fn pace(
        &mut self,
        now: Instant,
        user: &UserId,
        slow_mode: Duration,
        limits: &config::Chat,
    ) -> Result<(), Error> {
        let interval = Duration::from_secs(60) / limits.comments_per_minute.max(1);
        let Some(writer) = self.writers.get_mut(user) else {
            let mut bucket = Bucket::new(interval, limits.comments_burst, now);
            // A full bucket always gives its first token.
            let _ = bucket.take(now);
            self.writers
                .insert(user.clone(), Writer { bucket, last: now });
            self.note_writer(now, user, limits);
            return Ok(());
        };
        let next = writer.last + slow_mode;
        if now < next {
            let error = Error::rate_limited("slow mode", next - now);
            return Err(error.by_rule(Rule::SlowMode));
        }
        if let Err(wait) = writer.bucket.take(now) {
            return Err(Error::rate_limited("too many comments", wait));
        }
        writer.last = now;
        self.note_writer(now, user, limits);
        Ok(())
    }

    fn note_writer(&mut self, now: Instant, user: &UserId, limits: &config::Chat) {
        self.writers_order.push_back((now, user.clone()));
        while self.writers_order.len() > limits.remembered_writers {
            let Some((at, user)) = self.writers_order.pop_front() else {
                break;
            };
            // Only when that was the last time; a newer entry of the same writer stands further back.
            if self.writers.get(&user).is_some_and(|w| w.last == at) {
                self.writers.remove(&user);
            }
        }
    }

    /// A comment was not stored after all: its writer may try again at once.
    fn forgive(&mut self, user: &UserId) {
        self.writers.remove(user);
    }
}

impl Live {
    /// Whether somebody may say anything here.
    pub(super) fn check_chat(&self, now: Now, key: Key, caller: &Caller) -> Result<(), Error> {
        if !caller.grants.may_chat(&self.stream) && !self.is_staff(caller) {
            return Err(Error::forbidden("the token does not grant chat"));
        }
        self.house.admit(now, &self.stream, caller)?;
        self.house.admit_writing(now, &self.stream, caller)?;
        if !self.is_subscribed(key) {
            let channel = self.channel();
            return Err(Error::forbidden(format!("subscribe to {channel} first")));
        }
        Ok(())
    }

    /// `comment` of a session.
    pub(crate) fn comment(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        write: WriteComment,
    ) -> Result<(), Error> {
        let Some(session) = context.sessions.get(key) else {
            return Ok(());
        };
        let caller = session.caller.clone();
        self.check_chat(now, key, &caller)?;
        let requester = Requester::Session { key, id };
        let client_id = write.client_id.map(|id| id.into_string());
        let name = client_id
            .clone()
            .map(|client_id| (caller.user.id.clone(), client_id));
        if let Some(name) = &name
            && let Some(known) = self.comments.known.get(name)
        {
            return repeat(context, now, known, requester, &name.1);
        }
        self.check_writes(context)?;
        let role = self.role(&caller);
        if role == Role::Viewer {
            let slow_mode = Duration::from_secs(self.house.settings.slow_mode_seconds.into());
            let paced =
                self.comments
                    .pace(now.mono, &caller.user.id, slow_mode, &context.config.chat);
            if let Err(error) = paced {
                context.stats.rate_limited += 1;
                return Err(error);
            }
        }
        let comment = Comment {
            id: context.stored_id(now.wall_ms),
            stream: self.stream.clone(),
            user: caller.user,
            role,
            text: write.text.into_string(),
            highlighted: role == Role::Streamer,
            client_id,
            created_at_ms: now.wall_ms,
        };
        let then = Then::Comment {
            comment: comment.clone(),
            requesters: vec![requester],
        };
        let open = self.ask_store(context, StoreOp::AddComment(comment), then);
        if let Some(name) = name {
            self.comments
                .remember(name, Known::Open(open), &context.config.chat);
        }
        Ok(())
    }

    /// The store has answered about a comment.
    pub(super) fn comment_stored(
        &mut self,
        context: &mut Context,
        now: Now,
        comment: Comment,
        requesters: Vec<Requester>,
        result: Result<StoreOk, StoreError>,
    ) {
        let name = comment
            .client_id
            .clone()
            .map(|client_id| (comment.user.id.clone(), client_id));
        let Ok(StoreOk::Comment(stored)) = result else {
            if let Some(name) = &name {
                self.comments.forget(name);
            }
            self.comments.forgive(&comment.user.id);
            for requester in requesters {
                context.fail(now, requester, unavailable_store());
            }
            return;
        };
        if let Some(name) = name {
            let known = Known::Stored {
                id: stored.id.clone(),
                created_at_ms: stored.created_at_ms,
            };
            self.comments.remember(name, known, &context.config.chat);
        }
        for requester in requesters {
            let data = result_of(
                &stored.id,
                stored.created_at_ms,
                stored.client_id.as_deref(),
            );
            if let Requester::Session { key, id } = requester {
                context.ack(now, key, id, data);
            }
        }
        if stored.id != comment.id {
            // The store knew it already: everybody has seen it.
            return;
        }
        context.stats.comments += 1;
        let message = ServerMessage::Comment(CommentView::from(&stored));
        self.room.publish(context, now, &message);
        self.comments.push(stored, &context.config.chat);
    }

    /// `delete_comment` of a moderator.
    pub(crate) fn delete_comment(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        comment: String,
    ) -> Result<(), Error> {
        let by = self.moderator(context, key)?;
        self.check_writes(context)?;
        let op = StoreOp::DeleteComment {
            stream: self.stream.clone(),
            id: comment.clone(),
            by: by.user.id.clone(),
            at_ms: now.wall_ms,
        };
        let then = Then::Delete {
            id: comment,
            by,
            requester: Requester::Session { key, id },
        };
        self.ask_store(context, op, then);
        Ok(())
    }

    /// The store has answered about a deletion.
    pub(super) fn comment_deleted(
        &mut self,
        context: &mut Context,
        now: Now,
        id: String,
        by: &Caller,
        requester: Requester,
        result: Result<StoreOk, StoreError>,
    ) {
        match result {
            Ok(_) => {}
            Err(StoreError::NotFound) => {
                let error = Error::not_found("id: there is no such comment");
                return context.fail(now, requester, error);
            }
            Err(StoreError::Unavailable(_) | StoreError::Forbidden) => {
                return context.fail(now, requester, unavailable_store());
            }
        }
        self.comments.recent.retain(|comment| comment.id != id);
        let Requester::Session {
            key,
            id: request_id,
        } = requester
        else {
            return;
        };
        context.ack(
            now,
            key,
            request_id,
            object([("id", Value::from(id.clone()))]),
        );
        let is_pinned = self.house.settings.pinned_comment.as_ref() == Some(&id);
        let message = ServerMessage::CommentDeleted(CommentDeleted {
            id,
            by: by.user.id.clone(),
        });
        self.room.publish(context, now, &message);
        if is_pinned {
            let settings = Settings {
                pinned_comment: None,
                ..self.house.settings.clone()
            };
            self.save_settings(context, settings, None, by.clone(), None);
        }
    }

    /// `slow_mode` of a moderator.
    pub(crate) fn set_slow_mode(
        &mut self,
        context: &mut Context,
        key: Key,
        id: Option<String>,
        slow_mode: SlowMode,
    ) -> Result<(), Error> {
        let by = self.moderator(context, key)?;
        let limit = context.config.chat.slow_mode_max.as_secs();
        if u64::from(slow_mode.seconds) > limit {
            let expected = format!("expected 0 to {limit}");
            return Err(Error::invalid_field("data.seconds", expected));
        }
        self.check_writes(context)?;
        let settings = Settings {
            slow_mode_seconds: slow_mode.seconds,
            ..self.house.settings.clone()
        };
        let pinned = self.house.pinned.clone();
        let requester = Requester::Session { key, id };
        self.save_settings(context, settings, pinned, by, Some(requester));
        Ok(())
    }

    /// `pin_comment` of a moderator.
    pub(crate) fn pin_comment(
        &mut self,
        context: &mut Context,
        key: Key,
        id: Option<String>,
        pin: &PinComment,
    ) -> Result<(), Error> {
        let by = self.moderator(context, key)?;
        let pinned = match &pin.id {
            None => None,
            Some(wanted) => {
                let pinned = self.house.pinned.as_ref();
                let comment = self
                    .comments
                    .find(wanted.as_str())
                    .or(pinned.filter(|comment| comment.id == wanted.as_str()));
                let not_recent = || Error::not_found("id: not one of the recent comments");
                Some(comment.cloned().ok_or_else(not_recent)?)
            }
        };
        self.check_writes(context)?;
        let settings = Settings {
            pinned_comment: pinned.as_ref().map(|comment| comment.id.clone()),
            ..self.house.settings.clone()
        };
        let requester = Requester::Session { key, id };
        self.save_settings(context, settings, pinned, by, Some(requester));
        Ok(())
    }

    fn save_settings(
        &mut self,
        context: &mut Context,
        settings: Settings,
        pinned: Option<Comment>,
        by: Caller,
        requester: Option<Requester>,
    ) {
        let op = StoreOp::SaveSettings {
            stream: self.stream.clone(),
            settings: settings.clone(),
        };
        let then = Then::Settings {
            settings,
            pinned,
            by,
            requester,
        };
        self.ask_store(context, op, then);
    }

    /// The store has answered about settings.
    pub(super) fn settings_saved(
        &mut self,
        context: &mut Context,
        now: Now,
        settings: Settings,
        pinned: Option<Comment>,
        by: &Caller,
        requester: Option<Requester>,
        result: Result<StoreOk, StoreError>,
    ) {
        if result.is_err() {
            if let Some(requester) = requester {
                context.fail(now, requester, unavailable_store());
            }
            return;
        }
        self.house.settings = settings;
        self.house.pinned = pinned;
        if let Some(Requester::Session { key, id }) = requester {
            context.ack(now, key, id, object([]));
        }
        let message = ServerMessage::RoomSettings(RoomSettings {
            settings: self.settings_view(),
            by: by.user.id.clone(),
        });
        self.room.publish(context, now, &message);
    }
}

/// Answers a repeat of a comment like the first time.
fn repeat(
    context: &mut Context,
    now: Now,
    known: &Known,
    requester: Requester,
    client_id: &str,
) -> Result<(), Error> {
    match known {
        Known::Stored { id, created_at_ms } => {
            let data = result_of(id, *created_at_ms, Some(client_id));
            if let Requester::Session { key, id } = requester {
                context.ack(now, key, id, data);
            }
            Ok(())
        }
        Known::Open(open) => {
            if let Some(Waiting::Live(_, Then::Comment { requesters, .. })) =
                context.writes.get_mut(open)
            {
                if requesters.len() > context.config.chat.waiting_repeats_max {
                    context.stats.limits_hit += 1;
                    let wait = Duration::from_secs(1);
                    return Err(Error::rate_limited("the comment is being stored", wait));
                }
                requesters.push(requester);
            }
            Ok(())
        }
    }
}

/// What the writer of a comment is acknowledged.
fn result_of(id: &str, created_at_ms: u64, client_id: Option<&str>) -> Map<String, Value> {
    let mut data = object([
        ("id", Value::from(id)),
        ("created_at", Value::from(rfc3339(created_at_ms))),
    ]);
    if let Some(client_id) = client_id {
        data.insert("client_id".to_owned(), Value::from(client_id));
    }
    data
}
