//! Notifications on their way into the store: a part at a time, each told once it is stored.
//!
//! Ten thousand recipients are twenty writes. A request that carries an idempotency key gives each part a key of its own, so
//! that a repeat after a failure halfway finds the parts that are there and stores the rest.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::api::{Notify, Reply};
use crate::broker::Audience;
use crate::context::Context;
use crate::error::Error;
use crate::grants::{Caller, User};
use crate::id::{RequestId, RoomId, StreamName, UserId};
use crate::message::ServerMessage;
use crate::message::notifications::NotificationView;
use crate::message::text::Text;
use crate::store::notifications::{
    Delivered, NewNotification, NotificationOk, NotificationOp, Priority,
};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

use super::{Notifications, Then, kind, tell, tell_unread, unavailable_store};

/// One notification for any number of users.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) origin: Origin,
    pub(super) what: What,
    /// Who gets it, as far as that is known.
    pub(super) recipients: Vec<UserId>,
    /// How many of them are done.
    pub(super) done: usize,
    /// How many of them got it.
    pub(super) accepted: u64,
    /// Prefix of the idempotency keys of its parts.
    pub(super) key: Option<String>,
    /// How often the store has failed at the next part.
    pub(super) failures: u32,
}

/// What it says.
#[derive(Debug, Clone)]
pub(super) struct What {
    pub(super) kind: String,
    pub(super) priority: Priority,
    pub(super) message: String,
    pub(super) actor: Option<User>,
    pub(super) target: Option<Map<String, Value>>,
    pub(super) group_key: Option<String>,
    pub(super) at_ms: u64,
}

/// Where it comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// An application asked over HTTP, and is answered.
    Request(RequestId),
    /// A message was written in a room.
    Message(RoomId),
    /// A stream went live; its followers are read page by page.
    Live {
        stream: StreamName,
        after: Option<UserId>,
        has_more: bool,
    },
}

/// Jobs that are not done.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Of each origin, those that wait for another try included.
    requests: usize,
    messages: usize,
    lives: usize,
    /// What the store failed at, by when it is tried again.
    waiting: VecDeque<(Instant, Box<Job>)>,
}

impl Jobs {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    pub(super) fn next_due(&mut self, now: Now) -> Option<Box<Job>> {
        self.waiting
            .pop_front_if(|(at, _)| *at <= now.mono)
            .map(|(_, job)| job)
    }

    pub(super) fn lives(&self) -> usize {
        self.lives
    }

    fn count_of(&mut self, origin: &Origin) -> &mut usize {
        match origin {
            Origin::Request(_) => &mut self.requests,
            Origin::Message(_) => &mut self.messages,
            Origin::Live { .. } => &mut self.lives,
        }
    }
}

impl Notifications {
    /// An application notifies.
    pub(super) fn notify(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: &Caller,
        notify: Notify,
    ) -> Result<(), Error> {
        if !caller.grants.admin {
            return Err(Error::forbidden("the token does not grant admin"));
        }
        let job = checked(context, now, request, notify)?;
        if self.jobs.requests >= context.config.notifications.notify_jobs_max {
            context.stats.limits_hit += 1;
            return Err(Error::unavailable("too many requests are being stored"));
        }
        self.start(context, now, job);
        Ok(())
    }

    pub(super) fn start(&mut self, context: &mut Context, now: Now, job: Job) {
        *self.jobs.count_of(&job.origin) += 1;
        self.advance(context, now, Box::new(job));
    }

    /// Whether the notification of one more message may be stored.
    pub(super) fn has_room_for_message(&self, context: &Context) -> bool {
        self.jobs.messages < context.config.notifications.message_jobs_max
    }

    /// The next part of a job, its next page of followers, or its end.
    pub(super) fn advance(&mut self, context: &mut Context, now: Now, job: Box<Job>) {
        let part = context.config.notifications.write_recipients_max;
        if job.done < job.recipients.len() {
            let until = job.recipients.len().min(job.done + part);
            let users = &job.recipients[job.done..until];
            if let Origin::Message(room) = &job.origin {
                self.read_rooms.forget(room, users);
            }
            let recipients = users
                .iter()
                .map(|user| (user.clone(), context.stored_id(now.wall_ms)))
                .collect();
            let idempotency_key = job.key.as_ref().map(|key| format!("{key}#{}", job.done));
            let What {
                kind,
                priority,
                message,
                actor,
                target,
                group_key,
                at_ms,
            } = job.what.clone();
            let add = NewNotification {
                recipients,
                kind,
                priority,
                message,
                actor,
                target,
                group_key,
                at_ms,
                idempotency_key,
            };
            return self.ask(context, NotificationOp::Add(add), Then::Added(job));
        }
        if let Origin::Live {
            stream,
            after,
            has_more: true,
        } = &job.origin
        {
            let op = NotificationOp::ListFollowers {
                stream: stream.clone(),
                after: after.clone(),
                limit: part,
            };
            return self.ask(context, op, Then::Followed(job));
        }
        let accepted = usize::try_from(job.accepted).unwrap_or(usize::MAX);
        self.finish(context, now, *job, Ok(Reply::Accepted { accepted }));
    }

    fn finish(&mut self, context: &mut Context, now: Now, job: Job, result: Result<Reply, Error>) {
        *self.jobs.count_of(&job.origin) -= 1;
        match job.origin {
            Origin::Request(request) => context.reply(request, result),
            Origin::Message(_) => {}
            Origin::Live { .. } => self.next_live(context, now),
        }
    }

    /// A part is stored: those who got it hear of it, then comes the next.
    pub(super) fn added(
        &mut self,
        context: &mut Context,
        now: Now,
        mut job: Box<Job>,
        result: Result<StoreOk, StoreError>,
    ) {
        let Ok(StoreOk::Notifications(NotificationOk::Added {
            stored,
            accepted,
            is_repeat,
        })) = result
        else {
            return self.failed(context, now, job);
        };
        let part = context.config.notifications.write_recipients_max;
        job.done = job.recipients.len().min(job.done + part);
        job.accepted += accepted;
        job.failures = 0;
        context.stats.notifications += stored.len() as u64;
        let folded = stored.iter().filter(|it| it.notification.count > 1);
        context.stats.notifications_folded += folded.count() as u64;
        context.stats.notification_repeats += u64::from(is_repeat);
        for Delivered {
            user,
            notification,
            unread,
        } in stored
        {
            let view = NotificationView::from(notification);
            let message = ServerMessage::NewNotification(view);
            tell(context, now, Audience::User(user.clone()), message);
            tell_unread(context, now, &user, unread);
        }
        self.advance(context, now, job);
    }

    /// A page of followers is there.
    pub(super) fn followed(
        &mut self,
        context: &mut Context,
        now: Now,
        mut job: Box<Job>,
        result: Result<StoreOk, StoreError>,
    ) {
        let Ok(StoreOk::Notifications(NotificationOk::Followers {
            mut users,
            has_more: is_more,
            ..
        })) = result
        else {
            return self.failed(context, now, job);
        };
        job.failures = 0;
        if let Origin::Live {
            after, has_more, ..
        } = &mut job.origin
        {
            *has_more = is_more && !users.is_empty();
            *after = users.last().cloned();
        }
        let streamer = job.what.actor.as_ref().map(|actor| &actor.id);
        users.retain(|user| Some(user) != streamer);
        job.recipients = users;
        job.done = 0;
        self.advance(context, now, job);
    }

    /// The store failed at a part. Who asked is told to ask again; what the server notices by itself is tried again.
    fn failed(&mut self, context: &mut Context, now: Now, mut job: Box<Job>) {
        let limits = &context.config.notifications;
        if let Origin::Request(_) = job.origin {
            let error = match (job.done, &job.key) {
                (0, _) => unavailable_store(),
                (done, Some(_)) => Error::unavailable(format!(
                    "the store is unavailable; {done} of {} users are done, the same Idempotency-Key completes it",
                    job.recipients.len()
                )),
                (done, None) => Error::unavailable(format!(
                    "the store is unavailable; {done} of {} users are done, and get another one when it is repeated: with an Idempotency-Key they would not",
                    job.recipients.len()
                )),
            };
            return self.finish(context, now, *job, Err(error));
        }
        job.failures += 1;
        if job.failures < limits.attempts_max {
            let at = now.mono + limits.attempt_delay;
            self.jobs.waiting.push_back((at, job));
            return;
        }
        context.stats.notices_dropped += 1;
        let given_up = Err(unavailable_store());
        self.finish(context, now, *job, given_up);
    }
}

/// Checks what an application asks for.
fn checked(
    context: &mut Context,
    now: Now,
    request: RequestId,
    notify: Notify,
) -> Result<Job, Error> {
    let limits = &context.config.notifications;
    let recipients_max = limits.recipients_max;
    let mut recipients = notify.users;
    if recipients.is_empty() || recipients.len() > recipients_max {
        context.stats.limits_hit += u64::from(!recipients.is_empty());
        let expected = format!("expected 1 to {recipients_max} users");
        return Err(Error::invalid_field("user_ids", expected));
    }
    // In one order, a repeat has the same parts as the first request.
    recipients.sort_unstable();
    if recipients.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid_field("user_ids", "expected no repeats"));
    }
    kind::check("kind", &notify.kind)?;
    let message = text::<1, 500>("message", &notify.message)?;
    if let Some(actor) = &notify.actor {
        text::<1, 64>("actor.name", &actor.name)?;
    }
    if let Some(target) = &notify.target {
        let bytes = serde_json::to_vec(target).map_or(usize::MAX, |json| json.len());
        if bytes > limits.target_bytes_max {
            let expected = format!("expected at most {} bytes", limits.target_bytes_max);
            context.stats.limits_hit += 1;
            return Err(Error::invalid_field("target", expected));
        }
    }
    let group_key = notify
        .group_key
        .map(|key| text::<1, 128>("group_key", &key))
        .transpose()?;
    let idempotency_key = notify
        .idempotency_key
        .map(|key| text::<1, 128>("Idempotency-Key", &key))
        .transpose()?;
    let what = What {
        priority: kind::priority(&notify.kind),
        kind: notify.kind,
        message,
        actor: notify.actor,
        target: notify.target,
        group_key,
        at_ms: now.wall_ms,
    };
    let key = idempotency_key.map(|key| format!("{key}:{:016x}", fingerprint(&what, &recipients)));
    Ok(Job {
        origin: Origin::Request(request),
        what,
        recipients,
        done: 0,
        accepted: 0,
        key,
        failures: 0,
    })
}

fn text<const MIN: usize, const MAX: usize>(field: &str, value: &str) -> Result<String, Error> {
    Text::<MIN, MAX>::new(value)
        .map(Text::into_string)
        .map_err(|expected| Error::invalid_field(field, expected))
}

/// A number that tells requests apart: a key that comes back with another content is another request.
///
/// FNV-1a, because it must be the same in every process and version for as long as keys are kept.
fn fingerprint(what: &What, recipients: &[UserId]) -> u64 {
    let content = serde_json::json!([
        recipients,
        what.kind,
        what.message,
        what.actor,
        what.target,
        what.group_key
    ]);
    let bytes = content.to_string();
    bytes.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
