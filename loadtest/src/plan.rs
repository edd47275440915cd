//! Who writes when, what, and whose connection breaks: every choice of a run that comes from its seed. The clock, and whether a
//! writer can write at all, only decide how far the plan gets.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The stream of random numbers that the sessions draw from: what they draw depends on the network, so it is not the plan's.
const SESSIONS_STREAM: u64 = 1;

/// Writers that share a pace.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Messages a second of this thread's share.
    pub(crate) per_second: f64,
    pub(crate) characters: usize,
    pub(crate) open_per_writer: usize,
}

/// The choices of one thread.
pub(crate) struct Plan {
    rng: ChaCha8Rng,
    groups: Vec<Turns>,
    breaks: Vec<bool>,
}

/// Whose turn it is in a group.
struct Turns {
    writers: Vec<usize>,
    next: usize,
    per_second: f64,
    owed: f64,
}

impl Plan {
    /// The plan of sessions, each with the group that it writes in, of which the share `breaking` loses its connection in a storm.
    pub(crate) fn new(
        seed: u64,
        groups: &[Group],
        sessions: &[Option<usize>],
        breaking: f64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let groups = groups
            .iter()
            .enumerate()
            .map(|(number, group)| {
                let mut writers: Vec<usize> = sessions
                    .iter()
                    .enumerate()
                    .filter(|(_, of)| **of == Some(number))
                    .map(|(session, _)| session)
                    .collect();
                writers.shuffle(&mut rng);
                Turns {
                    writers,
                    next: 0,
                    per_second: group.per_second,
                    owed: 0.0,
                }
            })
            .collect();
        let breaks = sessions
            .iter()
            .map(|_| rng.random::<f64>() < breaking)
            .collect();
        Self {
            rng,
            groups,
            breaks,
        }
    }

    /// Random numbers for what sessions do by themselves.
    pub(crate) fn session_rng(seed: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(SESSIONS_STREAM);
        rng
    }

    /// Whether the connection of a session breaks in the storm.
    pub(crate) fn breaks(&self, session: usize) -> bool {
        self.breaks.get(session).copied().unwrap_or_default()
    }

    /// How many write in a group.
    pub(crate) fn writers(&self, group: usize) -> usize {
        self.groups
            .get(group)
            .map_or(0, |group| group.writers.len())
    }

    /// Notes that time passed: more messages are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        for group in &mut self.groups {
            // What could not be written is not owed for ever: one second of it at most, or one message when that is less.
            let most = group.per_second.max(1.0);
            group.owed = (group.owed + group.per_second * time.as_secs_f64()).min(most);
        }
    }

    /// The next message that is due in a group: whose turn it is, passing over those that cannot write now.
    pub(crate) fn turn(
        &mut self,
        group: usize,
        can_write: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let group = self.groups.get_mut(group)?;
        if group.owed < 1.0 {
            return None;
        }
        for _ in 0..group.writers.len() {
            let writer = group.writers[group.next];
            group.next = (group.next + 1) % group.writers.len();
            if can_write(writer) {
                group.owed -= 1.0;
                return Some(writer);
            }
        }
        None
    }

    /// What a message says behind its send time: so many random letters.
    pub(crate) fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(self.rng.random_range(b'a'..=b'z')))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first messages of a plan, and who breaks off.
    fn carried_out(seed: u64) -> (Vec<(usize, usize, String)>, Vec<bool>) {
        let group = |per_second| Group {
            per_second,
            characters: 60,
            open_per_writer: 1,
        };
        let sessions: Vec<Option<usize>> = (0..100)
            .map(|session| (session % 5 > 0).then_some(session % 2))
            .collect();
        let mut plan = Plan::new(seed, &[group(50.0), group(20.0)], &sessions, 0.5);
        let mut messages = Vec::new();
        for _ in 0..400 {
            plan.pass(Duration::from_millis(5));
            for group in 0..2 {
                while let Some(writer) = plan.turn(group, |_| true) {
                    messages.push((group, writer, plan.letters(20)));
                }
            }
        }
        let breaks = (0..sessions.len())
            .map(|session| plan.breaks(session))
            .collect();
        (messages, breaks)
    }

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_seed_another() {
        let (messages, breaks) = carried_out(7);
        assert_eq!(carried_out(7), (messages.clone(), breaks.clone()));
        let other = carried_out(8);
        assert_ne!(other.0, messages);
        assert_ne!(other.1, breaks);
        // Two seconds of 50 and 20 messages a second; the last of each may be due in the next tick.
        let of = |group| messages.iter().filter(|one| one.0 == group).count();
        assert!((99..=100).contains(&of(0)), "{}", of(0));
        assert!((39..=40).contains(&of(1)), "{}", of(1));
    }

    #[test]
    fn what_sessions_draw_does_not_change_the_plan() {
        let mut sessions = Plan::session_rng(7);
        let drawn: Vec<u32> = (0..4).map(|_| sessions.random()).collect();
        let mut plan = ChaCha8Rng::seed_from_u64(7);
        let planned: Vec<u32> = (0..4).map(|_| plan.random()).collect();
        assert_ne!(drawn, planned);
    }

    #[test]
    fn turns_pass_over_who_cannot_write_and_come_round_to_everybody() {
        let group = Group {
            per_second: 1000.0,
            characters: 60,
            open_per_writer: 1,
        };
        let mut plan = Plan::new(1, &[group], &[Some(0); 10], 0.0);
        plan.pass(Duration::from_millis(18));
        let mut wrote = Vec::new();
        while let Some(writer) = plan.turn(0, |session| session != 4) {
            wrote.push(writer);
        }
        assert_eq!(wrote.len(), 18);
        for session in 0..10 {
            let times = wrote.iter().filter(|one| **one == session).count();
            assert_eq!(times, if session == 4 { 0 } else { 2 }, "{session}");
        }
        assert_eq!(plan.turn(0, |_| true), None);
    }
}
