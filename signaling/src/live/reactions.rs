//! Reactions: counted, and told as counts.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::broker::Audience;
use crate::config;
use crate::context::{Context, object};
use crate::error::Error;
use crate::live::Live;
use crate::message::ServerMessage;
use crate::message::live::ReactionsUpdate;
use crate::session::Key;
use crate::time::Now;

/// The reactions of the current interval.
#[derive(Debug, Default)]
pub(crate) struct Reactions {
    counts: BTreeMap<String, u32>,
    /// When the interval began: with its first reaction.
    since: Option<Instant>,
}

impl Reactions {
    pub(crate) fn deadline(&self, limits: &config::Chat) -> Option<Instant> {
        self.since.map(|at| at + limits.reactions_interval)
    }
}

impl Live {
    /// `reaction` of a session.
    pub(crate) fn react(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        emoji: String,
    ) -> Result<(), Error> {
        let Some(session) = context.sessions.get(key) else {
            return Ok(());
        };
        let caller = session.caller.clone();
        self.check_chat(now, key, &caller)?;
        let Some(session) = context.sessions.get_mut(key) else {
            return Ok(());
        };
        if let Err(wait) = session.reactions.take(now.mono) {
            context.stats.rate_limited += 1;
            return Err(Error::rate_limited("too many reactions", wait));
        }
        let counts = &mut self.reactions.counts;
        let is_new = !counts.contains_key(&emoji);
        if is_new && counts.len() >= context.config.chat.reaction_kinds_max {
            context.stats.limits_hit += 1;
            let wait = context.config.chat.reactions_interval;
            return Err(Error::rate_limited("too many different reactions", wait));
        }
        let count = counts.entry(emoji).or_default();
        *count = count.saturating_add(1);
        self.reactions.since.get_or_insert(now.mono);
        context.ack(now, key, id, object([]));
        Ok(())
    }

    /// Tells the counts when the interval is over.
    pub(super) fn flush_reactions(&mut self, context: &mut Context, now: Now) {
        let due = self.reactions.deadline(&context.config.chat);
        if due.is_none_or(|at| at > now.mono) {
            return;
        }
        let reactions = std::mem::take(&mut self.reactions);
        let message = ServerMessage::ReactionsUpdate(ReactionsUpdate {
            counts: reactions.counts,
        });
        self.room.broadcast(context, now, Audience::All, &message);
    }
}
