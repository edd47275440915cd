//! The judge must be able to find fault: each way in which a server could break the promise is done to the record of a run in
//! which all was well.

use crate::checker::{Acknowledged, entry};
use crate::judge::{Fact, Held, Judge, ends};

/// The verdict on a whole run.
fn judge(tape: &[Fact], held: &Held) -> Result<(), String> {
    let mut judge = Judge::default();
    for fact in tape {
        judge.hear(fact)?;
    }
    judge.finish(held)
}

/// Spoils a run at a place, where that is possible.
type Damage = fn(&[Fact], &Held, usize) -> Option<(Vec<Fact>, Held)>;

const DAMAGES: [(&str, Damage); 8] = [
    ("a delivery is lost", lose),
    ("a delivery is doubled", double),
    ("two deliveries are reordered", reorder),
    ("a gap is not told", hide_gap),
    ("a gap is not in the history", lose_history),
    ("an acknowledged message is not stored", lose_stored),
    ("a message is stored twice", store_twice),
    ("the answer to a repeat is another one", answer_otherwise),
];

/// Does each damage at its first possible place behind `from`, or else before; all must be found.
pub(crate) fn assert_that_damage_is_found(tape: &[Fact], held: &Held, from: usize) {
    assert_eq!(judge(tape, held), Ok(()));
    for (what, damage) in DAMAGES {
        let mut places = (from..tape.len()).chain(0..from);
        let spoilt = places.find_map(|at| damage(tape, held, at));
        let (tape, held) = spoilt.unwrap_or_else(|| panic!("nothing in which {what}"));
        assert!(judge(&tape, &held).is_err(), "not found: {what}");
    }
}

/// Of a delivery: whose and where.
fn delivered(fact: &Fact) -> Option<(u64, &str)> {
    match fact {
        Fact::Delivered { client, room, .. } => Some((*client, room)),
        Fact::Subscribed { .. } | Fact::Read { .. } | Fact::Acknowledged { .. } => None,
    }
}

fn without(tape: &[Fact], at: usize) -> Vec<Fact> {
    let mut tape = tape.to_vec();
    tape.remove(at);
    tape
}

fn lose(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    delivered(&tape[at])?;
    Some((without(tape, at), held.clone()))
}

fn double(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    delivered(&tape[at])?;
    let mut tape = tape.to_vec();
    tape.insert(at, tape[at].clone());
    Some((tape, held.clone()))
}

fn reorder(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let whose = delivered(&tape[at])?;
    let mut behind = tape.iter().skip(at + 1);
    let next = behind.position(|fact| delivered(fact) == Some(whose))?;
    let mut tape = tape.to_vec();
    tape.swap(at, at + 1 + next);
    Some((tape, held.clone()))
}

fn hide_gap(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let Fact::Subscribed {
        client,
        room,
        seq: begin,
        recovered: false,
    } = &tape[at]
    else {
        return None;
    };
    let whose = (*client, room.as_str());
    let before = tape[..at].iter().rev().find_map(|fact| match fact {
        Fact::Delivered {
            client, room, seq, ..
        }
        | Fact::Subscribed {
            client, room, seq, ..
        } => ((*client, room.as_str()) == whose).then_some(*seq),
        Fact::Read { .. } | Fact::Acknowledged { .. } => None,
    })?;
    let mut tape = tape.to_vec();
    tape[at] = Fact::Subscribed {
        client: *client,
        room: room.clone(),
        seq: *begin,
        recovered: true,
    };
    (before < *begin).then(|| (tape, held.clone()))
}

fn lose_history(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let is_read = matches!(tape[at], Fact::Read { .. });
    is_read.then(|| (without(tape, at), held.clone()))
}

fn acknowledged(fact: &Fact) -> Option<(&str, &Acknowledged)> {
    match fact {
        Fact::Acknowledged { client_id, result } => Some((client_id, result)),
        Fact::Subscribed { .. } | Fact::Read { .. } | Fact::Delivered { .. } => None,
    }
}

fn lose_stored(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let (_, result) = acknowledged(&tape[at])?;
    let mut held = held.clone();
    held.remove(&(result.room.clone(), result.seq))?;
    Some((tape.to_vec(), held))
}

/// Under another id at the end of the room, and everybody is told of that, too.
fn store_twice(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let (_, Acknowledged { room, seq, .. }) = acknowledged(&tape[at])?;
    let end = ends(held)[room];
    let mut again = held[&(room.clone(), *seq)].clone();
    again.id.push('x');
    let mut held = held.clone();
    held.insert((room.clone(), end + 1), again.clone());
    let told = tape.iter().filter_map(|fact| match fact {
        Fact::Delivered {
            client,
            room: of,
            seq,
            ..
        } => ((of, *seq) == (room, end)).then(|| Fact::Delivered {
            client: *client,
            room: room.clone(),
            seq: end + 1,
            entry: again.clone(),
        }),
        Fact::Subscribed { .. } | Fact::Read { .. } | Fact::Acknowledged { .. } => None,
    });
    Some((tape.iter().cloned().chain(told).collect(), held))
}

fn answer_otherwise(tape: &[Fact], held: &Held, at: usize) -> Option<(Vec<Fact>, Held)> {
    let (client_id, result) = acknowledged(&tape[at])?;
    let mut result = result.clone();
    result.seq += 1;
    let client_id = client_id.to_owned();
    let repeat = Fact::Acknowledged { client_id, result };
    let tape = tape.iter().cloned().chain([repeat]);
    Some((tape.collect(), held.clone()))
}

/// A small run: client 1 sees all, client 2 is away, misses two messages and reads them in the history.
#[test]
fn every_way_to_break_the_promise_is_found() {
    let room = String::from("chat:r");
    let message = |seq: u64| {
        entry(
            "chat_message",
            Some(&format!("m{seq}")),
            Some(&format!("u1-{seq}")),
        )
    };
    let subscribed = |client, seq| Fact::Subscribed {
        client,
        room: room.clone(),
        seq,
        recovered: false,
    };
    let delivered = |client, seq| Fact::Delivered {
        client,
        room: room.clone(),
        seq,
        entry: message(seq),
    };
    let read = |client, seq| Fact::Read {
        client,
        room: room.clone(),
        seq,
        entry: message(seq),
    };
    let mut tape = vec![subscribed(1, 0), subscribed(2, 0)];
    for seq in 1..=5 {
        tape.push(delivered(1, seq));
        tape.push(Fact::Acknowledged {
            client_id: format!("u1-{seq}"),
            result: Acknowledged {
                room: room.clone(),
                seq,
                id: format!("m{seq}"),
            },
        });
    }
    tape.extend([delivered(2, 1), delivered(2, 2), subscribed(2, 4)]);
    tape.extend([delivered(2, 5), read(2, 3), read(2, 4)]);
    let held: Held = (1..=5)
        .map(|seq| ((room.clone(), seq), message(seq)))
        .collect();
    for from in 0..tape.len() {
        assert_that_damage_is_found(&tape, &held, from);
    }
}
