//! What one thread of the generator counts and times; added up at the end.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

/// Counters and times of one thread. All times are in microseconds.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Sessions that were established.
    pub connected: u64,
    /// Sessions that were not, by reason.
    pub failed: std::collections::BTreeMap<String, u64>,
    /// Connections the server closed while the run went on, by close code.
    pub closed: std::collections::BTreeMap<u16, u64>,
    /// Sessions that came back after their connection broke.
    pub reconnected: u64,
    /// Subscriptions that asked for what they missed and got it.
    pub recovered: u64,
    /// Subscriptions that asked for what they missed and were told that it is gone.
    pub unrecovered: u64,
    /// Messages written.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Of these, refused, by error code.
    pub refused: std::collections::BTreeMap<String, u64>,
    /// Copies of messages that arrived at sessions.
    pub delivered: u64,
    /// Copies that arrived at a session a second time.
    pub duplicated: u64,
    /// Copies that arrived after one with a larger position.
    pub out_of_order: u64,
    /// Acknowledged messages that a session should have got and did not; known at the end.
    pub lost: u64,
    /// Bytes of all messages that arrived.
    pub bytes: u64,
    /// TCP connect to `connection_established`.
    pub connect: Histogram<u64>,
    /// Sent to acknowledged.
    pub ack: Histogram<u64>,
    /// Sent to arrived at another session.
    pub delivery: Histogram<u64>,
    /// Broken to subscribed again.
    pub back: Histogram<u64>,
    /// How late the generator's own timer woke it: what it measures cannot be more exact than that.
    pub lag: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds that fit together")
        };
        Self {
            connected: 0,
            failed: std::collections::BTreeMap::new(),
            closed: std::collections::BTreeMap::new(),
            reconnected: 0,
            recovered: 0,
            unrecovered: 0,
            sent: 0,
            acked: 0,
            refused: std::collections::BTreeMap::new(),
            delivered: 0,
            duplicated: 0,
            out_of_order: 0,
            lost: 0,
            bytes: 0,
            connect: histogram(),
            ack: histogram(),
            delivery: histogram(),
            back: histogram(),
            lag: histogram(),
        }
    }
}

/// Records a time; what is longer than a minute counts as a minute.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.clamp(1, LONGEST_US));
}

impl Recorder {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.reconnected += other.reconnected;
        self.recovered += other.recovered;
        self.unrecovered += other.unrecovered;
        self.sent += other.sent;
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.lost += other.lost;
        self.bytes += other.bytes;
        for (reason, count) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += count;
        }
        for (code, count) in &other.closed {
            *self.closed.entry(*code).or_default() += count;
        }
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
        for (mine, others) in [
            (&mut self.connect, &other.connect),
            (&mut self.ack, &other.ack),
            (&mut self.delivery, &other.delivery),
            (&mut self.back, &other.back),
            (&mut self.lag, &other.lag),
        ] {
            mine.add(others)
                .expect("all histograms have the same bounds");
        }
    }
}

/// Which positions of a channel a session has seen.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Epoch of the channel, as `subscribed` named it.
    pub epoch: String,
    /// Everything up to here has arrived, or need not.
    complete: u64,
    /// What arrived beyond a gap.
    beyond: std::collections::BTreeSet<u64>,
    newest: u64,
}

/// What the arrival of a position means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or beyond a gap.
    New,
    /// New, but one with a larger position came before it.
    Late,
    /// It was there already.
    Repeated,
}

impl Track {
    /// From here on everything behind `seq` must arrive.
    #[must_use]
    pub fn starting(epoch: &str, seq: u64) -> Self {
        Self {
            epoch: epoch.to_owned(),
            complete: seq,
            beyond: std::collections::BTreeSet::new(),
            newest: seq,
        }
    }

    /// Notes a position.
    pub fn arrive(&mut self, seq: u64) -> Arrival {
        if seq <= self.complete || self.beyond.contains(&seq) {
            return Arrival::Repeated;
        }
        if seq == self.complete + 1 && self.beyond.is_empty() {
            (self.complete, self.newest) = (seq, seq);
            return Arrival::New;
        }
        self.beyond.insert(seq);
        while self.beyond.remove(&(self.complete + 1)) {
            self.complete += 1;
        }
        let is_late = seq < self.newest;
        self.newest = self.newest.max(seq);
        if is_late { Arrival::Late } else { Arrival::New }
    }

    /// The position to ask for what comes behind.
    #[must_use]
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// How many positions up to `last` have not arrived.
    #[must_use]
    pub fn missing(&self, last: u64) -> u64 {
        let beyond = self.beyond.range(..=last).count() as u64;
        last.saturating_sub(self.complete).saturating_sub(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_repeated_and_overtaken_message_are_each_told() {
        let mut track = Track::starting("e", 10);
        assert_eq!(track.arrive(11), Arrival::New);
        assert_eq!(track.arrive(13), Arrival::New);
        assert_eq!(track.missing(13), 1);
        assert_eq!(track.arrive(13), Arrival::Repeated);
        assert_eq!(track.arrive(12), Arrival::Late);
        assert_eq!(track.missing(13), 0);
        assert_eq!(track.arrive(12), Arrival::Repeated);
        assert_eq!(track.arrive(9), Arrival::Repeated);
        assert_eq!(track.complete(), 13);
        assert_eq!(track.missing(15), 2);
    }

    #[test]
    fn recorders_add_up() {
        let mut one = Recorder::default();
        let mut two = Recorder::default();
        record(&mut one.delivery, Duration::from_millis(5));
        record(&mut two.delivery, Duration::from_secs(600));
        *two.failed.entry("refused".to_owned()).or_default() += 2;
        one.add(&two);
        assert_eq!(one.delivery.len(), 2);
        assert_eq!(one.delivery.max() / 1_000_000, 60);
        assert_eq!(one.failed["refused"], 2);
    }
}
