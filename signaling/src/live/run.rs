//! A run of a stream: what it is called, when it is announced, and how it ends.

use std::time::Instant;

use crate::broker::Audience;
use crate::context::Context;
use crate::error::Error;
use crate::grants::{Caller, User};
use crate::live::{Live, Then};
use crate::media::{MediaId, MediaIntent, PublisherStats, Track};
use crate::message::ServerMessage;
use crate::message::live::{
    EndReason, StreamEnded, StreamStarted, StreamStats, StreamUpdated, TracksChanged,
};
use crate::notifications::Notice;
use crate::store::{self, StoreOp};
use crate::time::{Now, millis};

/// One run of a stream, from `start_stream` or the first publish until it ends.
#[derive(Debug)]
pub(crate) struct Run {
    /// Unique, for the store.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) tags: Vec<String>,
    pub(crate) streamer: User,
    created: Instant,
    /// When media was first heard.
    pub(crate) started: Option<Now>,
    pub(crate) tracks: Vec<Track>,
    pub(super) publisher: Option<MediaId>,
    /// Who published last, also when that connection is gone.
    pub(super) last_publisher: Option<MediaId>,
    /// The publisher before, until its successor is accepted.
    pub(super) previous: Option<MediaId>,
    /// A connection that a session was given by `start_stream` and has not offered yet.
    pub(super) reserved: Option<MediaId>,
    /// Since when no media is heard.
    pub(super) away_since: Option<Instant>,
    peak_viewers: u64,
}

impl Run {
    fn new(id: String, title: String, tags: Vec<String>, streamer: User, now: Now) -> Self {
        Self {
            id,
            title,
            tags,
            streamer,
            created: now.mono,
            started: None,
            tracks: Vec::new(),
            publisher: None,
            last_publisher: None,
            previous: None,
            reserved: None,
            away_since: None,
            peak_viewers: 0,
        }
    }
}

impl Live {
    pub(crate) fn is_live(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.started.is_some())
    }

    pub(super) fn note_peak(&mut self) {
        let count = self.viewers.count();
        if let Some(run) = &mut self.run {
            run.peak_viewers = run.peak_viewers.max(count);
        }
    }

    /// Starts a run with this name, or renames the one there is.
    pub(super) fn name_run(
        &mut self,
        context: &mut Context,
        now: Now,
        streamer: &User,
        title: String,
        tags: Vec<String>,
    ) {
        let Some(run) = &mut self.run else {
            let id = context.random_id();
            self.run = Some(Run::new(id, title, tags, streamer.clone(), now));
            return;
        };
        if run.title == title && run.tags == tags {
            return;
        }
        run.title.clone_from(&title);
        run.tags.clone_from(&tags);
        if run.started.is_some() {
            context.is_directory_stale = true;
            let updated = StreamUpdated {
                stream_id: self.stream.clone(),
                title,
                tags,
            };
            self.room
                .publish(context, now, &ServerMessage::StreamUpdated(updated));
        }
    }

    pub(super) fn announce(&mut self, context: &mut Context, now: Now) {
        let Some(run) = &mut self.run else { return };
        run.started = Some(now);
        context.stats.streams_started += 1;
        context.is_directory_stale = true;
        let started = StreamStarted {
            stream_id: self.stream.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            started_at: now.wall_ms,
            streamer: run.streamer.clone(),
            tracks: run.tracks.clone(),
        };
        let record = store::StreamStarted {
            stream: self.stream.clone(),
            run: run.id.clone(),
            publisher: run.streamer.id.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            at_ms: now.wall_ms,
        };
        context.notices.push_back(Notice::stream_live(&started));
        self.room
            .publish(context, now, &ServerMessage::StreamStarted(started));
        self.ask_store(context, StoreOp::StreamStarted(record), Then::Record);
        self.serve_waiting(context, now);
    }

    /// A run that was never heard of and that nobody is about to publish leaves no trace.
    pub(super) fn drop_empty_run(&mut self, context: &mut Context, now: Now) {
        let is_empty = self.run.as_ref().is_some_and(|run| {
            run.started.is_none() && run.publisher.is_none() && run.reserved.is_none()
        });
        if is_empty {
            self.end_run(context, now, EndReason::NeverStarted);
        }
    }

    /// The media plane tells the tracks of the stream.
    pub(crate) fn handle_tracks(&mut self, context: &mut Context, now: Now, tracks: Vec<Track>) {
        let Some(run) = &mut self.run else { return };
        let is_new = !is_same_shape(&run.tracks, &tracks);
        run.tracks.clone_from(&tracks);
        if is_new && run.started.is_some() {
            context.is_directory_stale = true;
            let changed = TracksChanged {
                stream_id: self.stream.clone(),
                tracks,
            };
            self.room
                .publish(context, now, &ServerMessage::TracksChanged(changed));
        }
    }

    /// How the publisher fares: for the streamer and moderators.
    pub(crate) fn handle_publisher_stats(
        &self,
        context: &mut Context,
        now: Now,
        stats: PublisherStats,
    ) {
        if !self.is_live() {
            return;
        }
        let message = ServerMessage::StreamStats(StreamStats {
            bitrate: stats.bitrate_bps,
            fps: stats.fps,
            rtt_ms: stats.rtt_ms,
            loss: stats.loss,
            layers: stats.layers,
            viewers: self.viewers.count(),
        });
        self.room.broadcast(context, now, Audience::Staff, &message);
    }

    /// Ends the stream because somebody said so.
    ///
    /// # Errors
    /// `not_found` when there is nothing to end.
    pub(crate) fn end_stream(
        &mut self,
        context: &mut Context,
        now: Now,
        reason: EndReason,
    ) -> Result<(), Error> {
        if self.run.is_none() {
            return Err(Error::not_found("the stream is not live"));
        }
        self.end_run(context, now, reason);
        Ok(())
    }

    pub(super) fn end_run(&mut self, context: &mut Context, now: Now, reason: EndReason) {
        let Some(run) = self.run.take() else { return };
        let has_media = run.publisher.is_some() || run.previous.is_some() || run.started.is_some();
        if has_media {
            context.ask_media(MediaIntent::EndStream {
                stream: self.stream.clone(),
            });
        }
        for media in [run.publisher, run.previous, run.reserved]
            .into_iter()
            .flatten()
        {
            context.forget_peer(now, media, "stream_ended");
        }
        if let Some(started) = run.started {
            let duration_ms = millis(now.mono.saturating_duration_since(started.mono));
            let ended = StreamEnded {
                stream_id: self.stream.clone(),
                reason,
                duration_ms,
                peak_viewers: run.peak_viewers,
            };
            self.room
                .publish(context, now, &ServerMessage::StreamEnded(ended));
            let record = store::StreamEnded {
                stream: self.stream.clone(),
                run: run.id,
                reason: reason.as_str().to_owned(),
                duration_ms,
                peak_viewers: run.peak_viewers,
                at_ms: now.wall_ms,
            };
            self.ask_store(context, StoreOp::StreamEnded(record), Then::Record);
            context.stats.streams_ended += 1;
            context.is_directory_stale = true;
        }
        self.end_viewers(context, now);
    }

    pub(super) fn run_deadline(&self, context: &Context) -> Option<Instant> {
        let run = self.run.as_ref()?;
        let limits = &context.config.live;
        match run.started {
            Some(_) => run.away_since.map(|at| at + limits.publisher_grace),
            None => Some(run.created + limits.start_timeout),
        }
    }

    /// Ends a stream whose publisher did not come (back) in time.
    pub(super) fn expire_run(&mut self, context: &mut Context, now: Now) {
        if self.run_deadline(context).is_none_or(|at| at > now.mono) {
            return;
        }
        let reason = if self.is_live() {
            EndReason::PublisherLost
        } else {
            EndReason::NeverStarted
        };
        self.end_run(context, now, reason);
    }

    /// Whether the session may end this stream.
    pub(crate) fn may_end(&self, caller: &Caller) -> bool {
        caller.grants.may_publish(&self.stream)
    }
}

/// Whether two lists of tracks differ only in what is measured all the time.
fn is_same_shape(a: &[Track], b: &[Track]) -> bool {
    let shape = |tracks: &[Track]| -> Vec<Track> {
        let mut tracks = tracks.to_vec();
        for layer in tracks.iter_mut().flat_map(|track| &mut track.layers) {
            layer.bitrate_bps = 0;
            layer.fps = 0;
        }
        tracks
    };
    shape(a) == shape(b)
}
