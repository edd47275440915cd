//! All state of one worker: peers, streams, and the turn that moves packets between them.

use std::net::SocketAddr;
use std::time::Instant;

use crate::config::Config;
use crate::event::{Command, Output, Reason};
use crate::id::ShardId;
use crate::relay;
use crate::stats::Snapshot;

/// All media state of one worker.
#[derive(Debug)]
pub struct Shard {
    stats: Snapshot,
}

impl Shard {
    /// Makes an empty shard.
    ///
    /// # Panics
    ///
    /// When `config` does not [validate](Config::validate).
    pub fn new(config: Config, _id: ShardId, _seed: u64) -> Self {
        config.validate().expect("a validated configuration");
        Self {
            stats: Snapshot::default(),
        }
    }

    /// Carries out a command.
    pub fn handle_command(&mut self, _now: Instant, _command: Command) {}

    /// Takes a datagram that arrived from `source` at `destination` (the socket's bound address will do).
    pub fn handle_datagram(
        &mut self,
        _now: Instant,
        _source: SocketAddr,
        _destination: SocketAddr,
        _datagram: &[u8],
    ) {
    }

    /// Takes a message of another shard.
    pub fn handle_relay(&mut self, _now: Instant, _from: ShardId, _message: relay::Message) {}

    /// Lets time pass: call when [`Self::poll_timeout`] is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Tells that all outputs of the turn have been carried out, for the histogram of forwarding delay.
    pub fn handle_sent(&mut self, _now: Instant) {}

    /// What to do next; `None` ends the turn. Between turns there is nothing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`Self::handle_timeout`] next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// The counters, cumulative.
    pub fn stats(&self) -> Snapshot {
        self.stats.clone()
    }
}
