//! Judges what clients of chat rooms were told: nothing acknowledged is lost, nothing comes twice or out of order, and every
//! gap is told. It knows nothing of the server but its messages.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What carries a position: its type and the id of the message it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Of messages that have one.
    pub(crate) client_id: Option<String>,
}

/// A message as it came, as far as the checker needs it.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) data: Data,
    #[serde(default)]
    pub(crate) metadata: About,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Data {
    pub(crate) id: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) room: Option<serde_json::Value>,
    pub(crate) seq: Option<u64>,
    pub(crate) epoch: Option<String>,
    pub(crate) recovered: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct About {
    pub(crate) channel: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) reply_to: Option<String>,
}

pub(crate) fn entry(kind: &str, id: Option<&str>, client_id: Option<&str>) -> Entry {
    Entry {
        kind: kind.to_owned(),
        id: id.unwrap_or_default().to_owned(),
        client_id: client_id.map(str::to_owned),
    }
}

/// What a writer was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) room: String,
    pub(crate) seq: u64,
    pub(crate) id: String,
}

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// The log of each room as some client saw it.
    logs: BTreeMap<(String, u64), Entry>,
    /// Where each message was first seen.
    places: BTreeMap<(String, String), u64>,
    acknowledged: BTreeMap<String, Acknowledged>,
    /// Up to where each client has seen each room.
    positions: BTreeMap<(u64, String), u64>,
    /// What each client was told that it missed, as (after, up to).
    gaps: BTreeMap<(u64, String), Vec<(u64, u64)>>,
    pub(crate) deliveries: u64,
    pub(crate) acknowledgements: u64,
    pub(crate) recovered: u64,
    pub(crate) told_gaps: u64,
}

impl Checker {
    /// Up to where a client has seen a room.
    pub(crate) fn position(&self, client: u64, room: &str) -> Option<u64> {
        self.positions.get(&(client, room.to_owned())).copied()
    }

    /// A subscription begins at `seq`.
    pub(crate) fn subscribed(
        &mut self,
        client: u64,
        room: &str,
        seq: u64,
        recovered: bool,
    ) -> Result<(), String> {
        let name = (client, room.to_owned());
        let before = self.positions.get(&name).copied();
        if recovered {
            if before != Some(seq) {
                return Err(format!("{room}: recovered from {seq}, seen was {before:?}"));
            }
            self.recovered += 1;
        } else {
            // Before the first subscription there is nothing to miss.
            let gaps = self.gaps.entry(name.clone()).or_default();
            gaps.push((before.unwrap_or(0), seq));
            self.told_gaps += u64::from(before.is_some_and(|before| before != seq));
        }
        self.positions.insert(name, seq);
        Ok(())
    }

    /// A client was told what stands at `seq`.
    pub(crate) fn delivered(
        &mut self,
        client: u64,
        room: &str,
        seq: u64,
        entry: &Entry,
    ) -> Result<(), String> {
        self.deliveries += 1;
        let position = self.positions.get_mut(&(client, room.to_owned()));
        let Some(position) = position else {
            return Err(format!("{room}: {seq} before `subscribed`"));
        };
        if seq != *position + 1 {
            return Err(format!("{room}: {seq} after {position}"));
        }
        *position = seq;
        let place = (room.to_owned(), seq);
        match self.logs.get(&place) {
            Some(known) if known != entry => {
                return Err(format!("{room}: {seq} is {known:?} and {entry:?}"));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        if entry.kind == "chat_message" {
            let name = (room.to_owned(), entry.id.clone());
            if let Some(other) = self.places.insert(name, seq) {
                return Err(format!("{room}: one message at {other} and {seq}"));
            }
        }
        self.logs.insert(place, entry.clone());
        Ok(())
    }

    /// A writer was acknowledged.
    pub(crate) fn acknowledged(
        &mut self,
        client_id: &str,
        result: Acknowledged,
    ) -> Result<(), String> {
        self.acknowledgements += 1;
        match self.acknowledged.get(client_id) {
            Some(first) if *first != result => {
                Err(format!("{client_id}: {first:?}, then {result:?}"))
            }
            Some(_) => Ok(()),
            None => {
                self.acknowledged.insert(client_id.to_owned(), result);
                Ok(())
            }
        }
    }

    /// Whether every client of a room was told that it missed what stands there.
    fn all_missed(&self, (room, seq): &(String, u64)) -> bool {
        let clients = self.positions.keys().filter(|(_, one)| one == room);
        let has_missed = |name: &(u64, String)| {
            let gaps = self.gaps.get(name).into_iter().flatten();
            gaps.into_iter()
                .any(|(after, up_to)| after < seq && seq <= up_to)
        };
        !self.logs.contains_key(&(room.clone(), *seq)) && clients.into_iter().all(has_missed)
    }

    /// Everything is well again: `ends` says how far each room is, `held` what the store holds at a position.
    pub(crate) fn finish(
        &self,
        ends: &BTreeMap<String, u64>,
        held: &BTreeMap<(String, u64), Entry>,
    ) -> Result<(), String> {
        for ((client, room), position) in &self.positions {
            if ends.get(room) != Some(position) {
                return Err(format!("client {client} ends at {position} of {room}"));
            }
        }
        for (client_id, ack) in &self.acknowledged {
            let place = (ack.room.clone(), ack.seq);
            let is_it = |entry: &Entry| {
                entry.id == ack.id && entry.client_id.as_deref() == Some(client_id.as_str())
            };
            if !held.get(&place).is_some_and(is_it) {
                return Err(format!("{client_id}: acknowledged and not stored"));
            }
            if !self.logs.get(&place).is_some_and(is_it) && !self.all_missed(&place) {
                return Err(format!("{client_id}: acknowledged and never told"));
            }
        }
        for (place, entry) in &self.logs {
            if held.get(place) != Some(entry) {
                return Err(format!("{place:?}: told {entry:?}, which is not stored"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry {
        super::entry("chat_message", Some(id), Some(&format!("c-{id}")))
    }

    fn ack(id: &str, seq: u64) -> Acknowledged {
        Acknowledged {
            room: "r".to_owned(),
            seq,
            id: id.to_owned(),
        }
    }

    /// A run in which all is well: three messages, seen by two clients, one of which was away.
    fn well() -> Checker {
        let mut checker = Checker::default();
        let mut steps = || -> Result<(), String> {
            checker.subscribed(1, "r", 0, false)?;
            checker.subscribed(2, "r", 0, false)?;
            for (seq, id) in [(1, "a"), (2, "b")] {
                checker.delivered(1, "r", seq, &entry(id))?;
                checker.acknowledged(&format!("c-{id}"), ack(id, seq))?;
            }
            checker.delivered(2, "r", 1, &entry("a"))?;
            checker.subscribed(2, "r", 1, true)?;
            checker.delivered(2, "r", 2, &entry("b"))
        };
        assert_eq!(steps(), Ok(()));
        checker
    }

    fn held(ids: &[&str]) -> BTreeMap<(String, u64), Entry> {
        let numbered = (1..).zip(ids);
        numbered
            .map(|(seq, id)| (("r".to_owned(), seq), entry(id)))
            .collect()
    }

    fn finish(checker: &Checker, end: u64, ids: &[&str]) -> Result<(), String> {
        checker.finish(&BTreeMap::from([("r".to_owned(), end)]), &held(ids))
    }

    #[test]
    fn a_run_in_which_all_is_well_passes() {
        let checker = well();
        assert_eq!(finish(&checker, 2, &["a", "b"]), Ok(()));
        assert_eq!((checker.deliveries, checker.acknowledgements), (4, 2));
    }

    #[test]
    fn a_lost_message_is_found() {
        let mut checker = well();
        assert!(
            checker.delivered(1, "r", 4, &entry("d")).is_err(),
            "3 is missing"
        );
        let checker = well();
        assert!(
            finish(&checker, 3, &["a", "b", "c"]).is_err(),
            "nobody was told of 3"
        );
        assert!(finish(&checker, 2, &["a"]).is_err(), "b is not stored");
        let mut checker = well();
        assert_eq!(checker.acknowledged("c-c", ack("c", 3)), Ok(()));
        assert!(
            finish(&checker, 2, &["a", "b", "c"]).is_err(),
            "c was never told"
        );
    }

    #[test]
    fn repeats_reordering_and_two_truths_are_found() {
        let mut checker = well();
        assert!(checker.delivered(1, "r", 2, &entry("b")).is_err(), "twice");
        let mut checker = well();
        assert!(
            checker.delivered(1, "r", 1, &entry("a")).is_err(),
            "backwards"
        );
        let mut checker = well();
        assert!(
            checker.delivered(1, "r", 3, &entry("a")).is_err(),
            "one message twice"
        );
        let mut checker = well();
        assert_eq!(checker.subscribed(3, "r", 1, false), Ok(()));
        assert!(
            checker.delivered(3, "r", 2, &entry("x")).is_err(),
            "another truth"
        );
        let mut checker = well();
        assert!(
            checker.delivered(3, "r", 1, &entry("a")).is_err(),
            "before `subscribed`"
        );
        let mut checker = well();
        assert!(
            checker.acknowledged("c-a", ack("z", 9)).is_err(),
            "another result"
        );
    }

    #[test]
    fn a_recovery_that_skips_is_found_and_a_gap_that_is_told_is_counted() {
        let mut checker = well();
        assert!(checker.subscribed(2, "r", 1, true).is_err(), "seen was 2");
        let mut checker = well();
        assert_eq!(checker.subscribed(2, "r", 7, false), Ok(()));
        assert_eq!(checker.told_gaps, 1);
        // What one client was told to have missed is no excuse for the other.
        assert_eq!(checker.acknowledged("c-e", ack("e", 5)), Ok(()));
        let stored = ["a", "b", "c", "d", "e", "f", "g"];
        assert!(finish(&checker, 7, &stored).is_err());
        assert_eq!(checker.subscribed(1, "r", 7, false), Ok(()));
        assert_eq!(finish(&checker, 7, &stored), Ok(()));
    }
}
