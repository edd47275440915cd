//! Rooms and messages as clients see them.

use serde::Serialize;

use crate::grants::User;
use crate::id::UserId;
use crate::message::chat::{MemberView, MessageView, RoomListing, RoomView};
use crate::people::{self, People};
use crate::store::chat::{Member, Message, RoomEntry, RoomState};
use crate::time::Now;

/// A member; those who are `hidden` are shown as offline.
pub(crate) fn member(people: &People, now: Now, member: &Member, is_hidden: bool) -> MemberView {
    let presence = if is_hidden {
        people::hidden(&member.user.id)
    } else {
        people.view(now, &member.user.id, member.last_seen_ms)
    };
    let User { id, name } = member.user.clone();
    MemberView {
        id,
        name,
        role: member.role,
        delivered_seq: member.delivered_seq,
        read_seq: member.read_seq,
        status: presence.status,
        last_seen: presence.last_seen,
    }
}

/// A room as the store has it, for one of its members or an admin.
pub(crate) fn room(people: &People, now: Now, state: &RoomState, viewer: &UserId) -> RoomView {
    let hides = |one: &Member| {
        let blocks = |(who, whom): &(UserId, UserId)| *who == one.user.id && whom == viewer;
        state.blocks.iter().any(blocks)
    };
    RoomView {
        id: state.id.clone(),
        kind: state.kind,
        title: state.title.clone(),
        members: state
            .members
            .iter()
            .map(|one| member(people, now, one, hides(one)))
            .collect(),
        created_at: state.created_at_ms,
        updated_at: state.updated_at_ms,
    }
}

/// A room in somebody's list.
pub(crate) fn listing(people: &People, now: Now, entry: RoomEntry) -> RoomListing {
    let members = entry.members.iter();
    let members = members
        .map(|one| member(people, now, one, entry.blockers.contains(&one.user.id)))
        .collect();
    RoomListing {
        room: RoomView {
            id: entry.id,
            kind: entry.kind,
            title: entry.title,
            members,
            created_at: entry.created_at_ms,
            updated_at: entry.updated_at_ms,
        },
        last_message: entry.last_message.map(MessageView::from),
        unread: entry.unread,
    }
}

/// Messages for one page, and whether some were left out because they are too many bytes: from the front when `newest` are
/// wanted, from the back otherwise. One always fits.
pub(crate) fn page(
    messages: Vec<Message>,
    newest: bool,
    bytes_max: usize,
) -> (Vec<MessageView>, bool) {
    let mut views: Vec<MessageView> = messages.into_iter().map(MessageView::from).collect();
    let cut = if newest {
        views.reverse();
        let cut = fit(&mut views, bytes_max);
        views.reverse();
        cut
    } else {
        fit(&mut views, bytes_max)
    };
    (views, cut)
}

/// Leaves out from the back what is too many bytes as JSON; true when something was.
pub(crate) fn fit<T: Serialize>(list: &mut Vec<T>, bytes_max: usize) -> bool {
    let mut bytes = 0;
    let is_over = |one: &T| {
        bytes += json_bytes(one);
        bytes > bytes_max
    };
    match list.iter().position(is_over) {
        Some(at) if at.max(1) < list.len() => {
            list.truncate(at.max(1));
            true
        }
        Some(_) | None => false,
    }
}

fn json_bytes<T: Serialize>(value: &T) -> usize {
    /// Counts what is written to it.
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // What cannot be written counts as endless.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_one_line_however_long() {
        let mut list = vec!["x".repeat(100), "y".to_owned()];
        assert!(fit(&mut list, 10));
        assert_eq!(list.len(), 1);
        assert!(!fit(&mut list, 10), "nothing else to leave out");
        let mut list = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert!(fit(&mut list, 6), "each takes three bytes");
        assert_eq!(list, ["a", "b"]);
    }
}
