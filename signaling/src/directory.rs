//! The channel `streams`: who is live, for everybody, in one message that replaces the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::api::StreamSummary;
use crate::broker::Publication;
use crate::channel::Room;
use crate::context::Context;
use crate::grants::Grants;
use crate::id::{Channel, StreamName};
use crate::live::Live;
use crate::message::ServerMessage;
use crate::message::connection::{ChannelState, Position};
use crate::message::live::StreamsUpdate;
use crate::session::Key;
use crate::time::Now;

/// Subscribers of `streams`.
#[derive(Debug)]
pub(crate) struct Directory {
    room: Room,
    told_at: Option<Instant>,
    pub(crate) scheduled: Option<Instant>,
}

impl Directory {
    pub(crate) fn new(context: &mut Context) -> Self {
        Self {
            room: Room::new(context, Channel::Streams),
            told_at: None,
            scheduled: None,
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        since: Option<&Position>,
        lives: &BTreeMap<StreamName, Live>,
    ) {
        let Some(session) = context.sessions.get_mut(key) else {
            return;
        };
        session.subscriptions.insert(Channel::Streams);
        let grants = session.caller.grants.clone();
        let limit = context.config.channel.directory_streams_max;
        let streams = visible(&listed(lives), &grants, limit);
        let state = ChannelState::Streams(StreamsUpdate { streams });
        self.room.subscribe(context, now, key, since, state);
    }

    pub(crate) fn unsubscribe(&mut self, key: Key) {
        self.room.unsubscribe(key);
    }

    pub(crate) fn handle_published(&mut self, context: &mut Context, publication: Publication) {
        self.room
            .handle_published(context, publication, &BTreeSet::new());
    }

    pub(crate) fn deadline(&self, context: &Context) -> Option<Instant> {
        let interval = context.config.channel.directory_interval;
        let is_waiting = context.is_directory_stale && !self.room.subscribers().is_empty();
        is_waiting
            .then(|| self.told_at.map(|at| at + interval))
            .flatten()
    }

    /// Tells the list when it changed and the interval has passed.
    pub(crate) fn flush(
        &mut self,
        context: &mut Context,
        now: Now,
        lives: &BTreeMap<StreamName, Live>,
    ) {
        let limits = &context.config.channel;
        let (interval, limit) = (limits.directory_interval, limits.directory_streams_max);
        let is_early = self.told_at.is_some_and(|at| now.mono < at + interval);
        if !context.is_directory_stale || is_early {
            return;
        }
        context.is_directory_stale = false;
        if self.room.subscribers().is_empty() {
            return;
        }
        self.told_at = Some(now.mono);
        let listed = listed(lives);
        let sees_all = |key: &Key| {
            let session = context.sessions.get(*key);
            session.is_some_and(|session| may_watch_all(&session.caller.grants))
        };
        let (all, some): (BTreeSet<Key>, BTreeSet<Key>) = self
            .room
            .subscribers()
            .iter()
            .partition(|key| sees_all(key));
        self.tell(context, now, &listed, &all, limit);
        // Who may not watch everything gets a list of their own.
        for key in some {
            self.tell(context, now, &listed, &BTreeSet::from([key]), limit);
        }
    }

    fn tell(
        &self,
        context: &mut Context,
        now: Now,
        listed: &[StreamSummary],
        keys: &BTreeSet<Key>,
        limit: usize,
    ) {
        let Some(session) = keys.first().and_then(|key| context.sessions.get(*key)) else {
            return;
        };
        let streams = visible(listed, &session.caller.grants, limit);
        let message = ServerMessage::StreamsUpdate(StreamsUpdate { streams });
        self.room.send_to(context, now, &message, keys);
    }
}

fn may_watch_all(grants: &Grants) -> bool {
    grants.watch.is_all() || grants.admin
}

/// All live streams, longest running first.
pub(crate) fn listed(lives: &BTreeMap<StreamName, Live>) -> Vec<StreamSummary> {
    let mut streams: Vec<StreamSummary> = lives.values().filter_map(Live::summary).collect();
    streams.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    streams
}

/// Those of them that somebody may watch.
pub(crate) fn visible(
    streams: &[StreamSummary],
    grants: &Grants,
    limit: usize,
) -> Vec<StreamSummary> {
    let mine = streams.iter().filter(|stream| grants.may_watch(&stream.id));
    mine.take(limit).cloned().collect()
}
