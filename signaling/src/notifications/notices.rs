//! What the server notifies of by itself: messages to those who are not looking, streams that go live.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::broker::Audience;
use crate::context::{Context, object};
use crate::grants::User;
use crate::id::{RoomId, StreamName, UserId};
use crate::message::ServerMessage;
use crate::message::notifications::NotificationRead;
use crate::message::text::Text;
use crate::store::chat::RoomKind;
use crate::store::notifications::{NotificationOk, NotificationOp};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

use super::jobs::{Job, Origin, What};
use super::{Notice, Notifications, Then, kind, tell, tell_unread};

/// Characters of a message or title that a notification shows: two lines on a phone.
const PREVIEW_CHARS: usize = 140;

/// Streams whose followers are told.
#[derive(Debug, Default)]
pub(super) struct LiveNotices {
    /// When the followers of a stream were last told; those whose cooldown is over may be left.
    told: BTreeMap<StreamName, Instant>,
    /// The same, the longest ago first.
    order: VecDeque<(Instant, StreamName)>,
    /// What waits for others to be done.
    waiting: VecDeque<Job>,
}

/// Members who are known to have no unread notification of a room. Each is noted when it was marked as read, and forgotten
/// when the next one is on its way.
#[derive(Debug, Default)]
pub(super) struct ReadRooms {
    known: BTreeMap<(RoomId, UserId), u64>,
    order: BTreeMap<u64, (RoomId, UserId)>,
    next: u64,
    /// Those that the store is marking, with nothing on its way to them since it was asked.
    marking: BTreeSet<(RoomId, UserId)>,
}

impl LiveNotices {
    /// Forgets the one told longest ago, by when that was and how many are remembered, as long as `is_over` says so.
    fn forget(&mut self, is_over: impl Fn(Instant, usize) -> bool) {
        while let Some((at, stream)) = self
            .order
            .pop_front_if(|(at, _)| is_over(*at, self.told.len()))
        {
            if self.told.get(&stream) == Some(&at) {
                self.told.remove(&stream);
            }
        }
    }
}

impl ReadRooms {
    /// Whether there may be something to mark; if so, it is about to be marked.
    fn begin(&mut self, room: &RoomId, user: &UserId) -> bool {
        let entry = (room.clone(), user.clone());
        !self.known.contains_key(&entry) && self.marking.insert(entry)
    }

    /// The store has marked, or failed to.
    fn end(&mut self, room: RoomId, user: UserId, is_marked: bool, max: usize) {
        let entry = (room, user);
        if !self.marking.remove(&entry) || !is_marked {
            return;
        }
        if let Some(older) = self.known.insert(entry.clone(), self.next) {
            self.order.remove(&older);
        }
        self.order.insert(self.next, entry);
        self.next += 1;
        while self.known.len() > max {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.known.remove(&oldest);
        }
    }

    pub(super) fn forget(&mut self, room: &RoomId, users: &[UserId]) {
        for user in users {
            let entry = (room.clone(), user.clone());
            self.marking.remove(&entry);
            if let Some(number) = self.known.remove(&entry) {
                self.order.remove(&number);
            }
        }
    }
}

impl Notifications {
    /// Something happened that people are to be notified of.
    pub(crate) fn handle_notice(&mut self, context: &mut Context, now: Now, notice: Notice) {
        match notice {
            Notice::Message {
                room,
                kind,
                title,
                sender,
                text,
                recipients,
            } => {
                if recipients.is_empty() {
                    return;
                }
                if !self.has_room_for_message(context) {
                    context.stats.limits_hit += 1;
                    context.stats.notices_dropped += 1;
                    return;
                }
                let what = of_message(now, &room, kind, title, sender, &text);
                let job = job(Origin::Message(room), what, recipients);
                self.start(context, now, job);
            }
            Notice::RoomRead { room, user } => self.mark_room(context, now, room, user),
            Notice::StreamLive {
                stream,
                streamer,
                title,
            } => self.stream_live(context, now, stream, streamer, &title),
        }
    }

    /// Marks the notification of a room as read, unless it is known that there is none.
    fn mark_room(&mut self, context: &mut Context, now: Now, room: RoomId, user: UserId) {
        if self.check_open(context).is_err() || !self.read_rooms.begin(&room, &user) {
            return;
        }
        let op = NotificationOp::MarkGroupRead {
            user: user.clone(),
            group_key: group_of(&room),
            at_ms: now.wall_ms,
        };
        self.ask(context, op, Then::RoomRead { room, user });
    }

    pub(super) fn room_read(
        &mut self,
        context: &mut Context,
        now: Now,
        room: RoomId,
        user: UserId,
        result: Result<StoreOk, StoreError>,
    ) {
        let max = context.config.notifications.remembered_reads;
        let Ok(StoreOk::Notifications(NotificationOk::GroupRead { ids, unread })) = result else {
            return self.read_rooms.end(room, user, false, max);
        };
        for id in &ids {
            if let Ok(id) = Text::new(id) {
                let message = ServerMessage::NotificationRead(NotificationRead { id });
                tell(context, now, Audience::User(user.clone()), message);
            }
        }
        if !ids.is_empty() {
            tell_unread(context, now, &user, unread);
        }
        self.read_rooms.end(room, user, true, max);
    }

    /// A notification of a room is told, by this node or another: there is something to be read again.
    pub(super) fn forget_read_room(&mut self, user: &UserId, group_key: Option<&str>) {
        let room = group_key.and_then(|key| key.strip_prefix(ROOM));
        if let Some(Ok(room)) = room.map(RoomId::new) {
            self.read_rooms.forget(&room, std::slice::from_ref(user));
        }
    }

    fn stream_live(
        &mut self,
        context: &mut Context,
        now: Now,
        stream: StreamName,
        streamer: User,
        title: &str,
    ) {
        let limits = &context.config.notifications;
        let live = &mut self.live;
        live.forget(|at, _| at + limits.live_cooldown <= now.mono);
        if live.told.contains_key(&stream) {
            context.stats.live_notices_suppressed += 1;
            return;
        }
        let is_full = self.jobs.lives() >= limits.live_jobs_max;
        if is_full && live.waiting.len() >= limits.live_waiting_max {
            context.stats.limits_hit += 1;
            context.stats.notices_dropped += 1;
            return;
        }
        live.forget(|_, count| count >= limits.live_remembered_max);
        live.told.insert(stream.clone(), now.mono);
        live.order.push_back((now.mono, stream.clone()));
        let what = of_stream(now, &stream, streamer, title);
        let origin = Origin::Live {
            stream,
            after: None,
            has_more: true,
        };
        let job = job(origin, what, Vec::new());
        if is_full {
            live.waiting.push_back(job);
        } else {
            self.start(context, now, job);
        }
    }

    /// The followers of one stream are told: those of the next may be.
    pub(super) fn next_live(&mut self, context: &mut Context, now: Now) {
        if let Some(job) = self.live.waiting.pop_front() {
            self.start(context, now, job);
        }
    }
}

const ROOM: &str = "room:";

fn group_of(room: &RoomId) -> String {
    format!("{ROOM}{room}")
}

fn job(origin: Origin, what: What, recipients: Vec<UserId>) -> Job {
    Job {
        origin,
        what,
        recipients,
        done: 0,
        accepted: 0,
        key: None,
        failures: 0,
    }
}

fn of_message(
    now: Now,
    room: &RoomId,
    room_kind: RoomKind,
    title: Option<String>,
    sender: User,
    text: &str,
) -> What {
    let kind = match room_kind {
        RoomKind::Direct => kind::MESSAGE,
        RoomKind::Group => kind::GROUP_MESSAGE,
    };
    let preview = shortened(text);
    let message = if preview.is_empty() {
        format!("{} sent an attachment", sender.name)
    } else {
        format!("{}: {preview}", sender.name)
    };
    let mut target = object([("room", room.as_str().into())]);
    target.extend(title.map(|title| ("title".to_owned(), title.into())));
    What {
        kind: kind.to_owned(),
        priority: kind::priority(kind),
        message,
        actor: Some(sender),
        target: Some(target),
        group_key: Some(group_of(room)),
        at_ms: now.wall_ms,
    }
}

fn of_stream(now: Now, stream: &StreamName, streamer: User, title: &str) -> What {
    let title = shortened(title);
    let message = if title.is_empty() {
        format!("{} is live", streamer.name)
    } else {
        format!("{} is live: {title}", streamer.name)
    };
    What {
        kind: kind::STREAM_LIVE.to_owned(),
        priority: kind::priority(kind::STREAM_LIVE),
        message,
        actor: Some(streamer),
        target: Some(object([("stream", stream.as_str().into())])),
        group_key: Some(format!("live:{stream}")),
        at_ms: now.wall_ms,
    }
}

/// A text on one line, cut behind a whole character.
fn shortened(text: &str) -> String {
    let words = text.split_whitespace();
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > PREVIEW_CHARS * 4 {
            break;
        }
    }
    match line.char_indices().nth(PREVIEW_CHARS) {
        Some((at, _)) => {
            line.truncate(at);
            line.truncate(line.trim_end().len());
            line.push('…');
            line
        }
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_one_line_that_ends_behind_a_character() {
        assert_eq!(shortened(" hola\n  Ana\t! "), "hola Ana !");
        assert_eq!(shortened(""), "");
        let long = "😀".repeat(PREVIEW_CHARS + 1);
        let short = shortened(&long);
        assert_eq!(short.chars().count(), PREVIEW_CHARS + 1);
        assert!(short.ends_with("😀…"));
        let exact = "é".repeat(PREVIEW_CHARS);
        assert_eq!(shortened(&exact), exact);
        assert!(shortened(&"word ".repeat(4000)).ends_with("word…"));
    }

    #[test]
    fn what_is_known_to_be_read_is_bounded() {
        let mut rooms = ReadRooms::default();
        let (room, user) = (
            |n: u32| RoomId::new(format!("r{n}")).expect("a room"),
            UserId::new("ana").expect("a user"),
        );
        for n in 0..6 {
            assert!(rooms.begin(&room(n), &user));
            assert!(!rooms.begin(&room(n), &user), "the store is at it");
            rooms.end(room(n), user.clone(), n != 4, 3);
        }
        let unknown: Vec<u32> = (0..6).filter(|n| rooms.begin(&room(*n), &user)).collect();
        assert_eq!(unknown, [0, 1, 4], "the oldest went, one was not marked");
        assert_eq!(rooms.order.len(), rooms.known.len());
    }

    #[test]
    fn a_notification_on_its_way_outdates_a_mark() {
        let mut rooms = ReadRooms::default();
        let room = RoomId::new("r").expect("a room");
        let user = UserId::new("ana").expect("a user");
        assert!(rooms.begin(&room, &user));
        rooms.forget(&room, std::slice::from_ref(&user));
        rooms.end(room.clone(), user.clone(), true, 3);
        assert!(rooms.begin(&room, &user), "there may be a new one");
    }
}
