//! What the shell asks, carried out.

use std::time::Instant;

use super::fault::{self, Fault};
use super::{Shard, peer_mut, stream_mut};
use crate::event::{CloseReason, Command, Event, Refusal, Selection};
use crate::id::{PeerId, PeerKey, ShardId, StreamId, StreamKey};
use crate::peer::{Offered, Peer, Role};
use crate::publisher::Line;
use crate::stream::Stream;
use crate::subscriber::Subscriber;
use crate::track::Track;

impl Shard {
    pub(super) fn carry_out(&mut self, now: Instant, command: Command) {
        match command {
            Command::OpenStream { stream, home } => self.open_stream(stream, home),
            Command::CloseStream { stream } => self.close_stream(now, stream),
            Command::Publish {
                peer,
                stream,
                offer,
            } => {
                let result = self.publish(now, peer, stream, &offer);
                self.refuse_on_error(peer, result);
            }
            Command::Watch {
                peer,
                stream,
                offer,
                selection,
            } => {
                let result = self.watch(now, peer, stream, offer.as_deref(), selection);
                self.refuse_on_error(peer, result);
            }
            Command::Offer { peer, sdp } => {
                let result = self.handle_offer(now, peer, &sdp);
                self.refuse_on_error(peer, result);
            }
            Command::Answer { peer, sdp } => {
                let result = self.handle_answer(now, peer, &sdp);
                self.refuse_on_error(peer, result);
            }
            Command::Candidate { peer, candidate } => {
                let result = match self.peer_id(peer) {
                    Some(_) => Peer::check_candidate(&candidate),
                    None => Err(Refusal::Unknown),
                };
                self.refuse_on_error(peer, result);
            }
            Command::Patch { peer, fragment } => {
                let result = self.patch(now, peer, &fragment);
                self.refuse_on_error(peer, result);
            }
            Command::Select { peer, selection } => {
                let result = self.select(now, peer, selection);
                self.refuse_on_error(peer, result);
            }
            Command::Close { peer } => {
                if let Some(id) = self.peer_id(peer) {
                    self.drive(now, id, |peer, sink| peer.close(now, sink));
                    self.remove_peer(now, id);
                }
            }
        }
    }

    fn refuse_on_error(&mut self, peer: PeerKey, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.tell(Event::Refused { peer, refusal });
        }
    }

    /// The stream of a key, made when it is new and there is room.
    pub(super) fn stream_entry(&mut self, key: StreamKey, home: ShardId) -> Option<StreamId> {
        if let Some(id) = self.stream_id(key) {
            return Some(id);
        }
        if self.streams.len() >= self.config.streams_max {
            tracing::warn!("no room for another stream");
            return None;
        }
        let index = self.streams.insert(Stream::new(key, home));
        self.stream_ids.insert(key, index);
        Some(StreamId { index, key })
    }

    fn open_stream(&mut self, key: StreamKey, home: ShardId) {
        let Some(id) = self.stream_entry(key, home) else {
            return;
        };
        if let Some(stream) = stream_mut(&mut self.streams, id) {
            stream.is_open = true;
            stream.home = home;
        }
    }

    fn close_stream(&mut self, now: Instant, key: StreamKey) {
        let Some(id) = self.stream_id(key) else {
            return;
        };
        // Viewers first: nobody is told of tracks that go because everything goes.
        let stream = &mut self.streams[id.index];
        let viewers = std::mem::take(&mut stream.viewers);
        let publisher = stream.publisher;
        for peer in viewers.into_iter().chain(publisher) {
            self.end_peer(now, peer, CloseReason::StreamEnded);
        }
        self.unfollow_if_unwatched(id);
        self.streams.remove(id.index);
        self.stream_ids.remove(&key);
    }

    /// Checks what every new peer needs: a free key, an open stream, room.
    fn admit(&self, peer: PeerKey, stream: StreamKey) -> Result<StreamId, Refusal> {
        if self.peer_ids.contains_key(&peer) {
            return Err(Refusal::OutOfOrder("this peer exists".into()));
        }
        let id = self.stream_id(stream).ok_or(Refusal::Unknown)?;
        if !self.streams[id.index].is_open {
            return Err(Refusal::Unknown);
        }
        if self.peers.len() >= self.config.peers_max {
            return Err(Refusal::Limit("peers"));
        }
        Ok(id)
    }

    /// What is told of an offer that made this server panic.
    fn blame_offer<T>(&mut self, key: PeerKey) -> Result<T, Refusal> {
        self.stats.panics += 1;
        tracing::error!(
            peer = key.0,
            "a fault of this server kept a connection from being made"
        );
        Err(Refusal::InvalidSdp("this server cannot read it".into()))
    }

    fn insert_peer(&mut self, mut peer: Peer) -> PeerId {
        let key = peer.key;
        let ufrag = peer.ufrag();
        let id = PeerId {
            index: self.peers.vacant_key(),
            key,
        };
        self.demux.add_ufrag(id, ufrag, &mut peer.claims);
        self.peers.insert(peer);
        self.peer_ids.insert(key, id.index);
        self.schedule_peer(id);
        self.mark_dirty(id);
        id
    }

    fn publish(
        &mut self,
        now: Instant,
        key: PeerKey,
        stream: StreamKey,
        offer: &str,
    ) -> Result<(), Refusal> {
        let stream_id = self.admit(key, stream)?;
        if self.streams[stream_id.index].home != self.id {
            return Err(Refusal::OutOfOrder("not the home shard".into()));
        }
        let (trap, config) = (&self.trap, &self.config);
        let made = fault::contain(|| {
            trap.spring(key, Fault::Offer);
            Peer::publish(now, config, key, stream_id, offer)
        });
        let (peer, answer, lines) = made.unwrap_or_else(|| self.blame_offer(key))?;
        if let Some(old) = self.streams[stream_id.index].publisher {
            self.end_peer(now, old, CloseReason::Replaced);
        }
        let id = self.insert_peer(peer);
        let stream = &mut self.streams[stream_id.index];
        stream.publisher = Some(id);
        stream.ticks_at = Some(now + super::TICK);
        stream.stats_at = Some(now + self.config.stats_interval);
        self.tell(Event::Answer {
            peer: key,
            sdp: answer,
        });
        self.sync_tracks(now, stream_id, id, &lines);
        self.schedule_stream(stream_id);
        Ok(())
    }

    fn watch(
        &mut self,
        now: Instant,
        key: PeerKey,
        stream: StreamKey,
        offer: Option<&str>,
        selection: Selection,
    ) -> Result<(), Refusal> {
        let stream_id = self.admit(key, stream)?;
        // Spreads first sequence numbers over viewers; any odd constant does.
        let seed = self.seed ^ key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let subscriber = Subscriber::new(selection, seed);
        let tracks = &self.streams[stream_id.index].tracks;
        let (trap, config) = (&self.trap, &self.config);
        let made = fault::contain(|| {
            trap.spring(key, Fault::Offer);
            let Some(offer) = offer else {
                let video = tracks.iter().find(|t| t.kind == crate::event::Kind::Video);
                let preferred = video.map(|track| track.format.codec);
                let peer = Peer::watch(now, config, key, stream_id, subscriber, preferred)?;
                return Ok((peer, None));
            };
            let made = Peer::watch_offered(now, config, key, stream_id, offer, subscriber, tracks);
            made.map(|(peer, answer)| (peer, Some(answer)))
        });
        let (peer, answer) = made.unwrap_or_else(|| self.blame_offer(key))?;
        let id = self.insert_peer(peer);
        self.streams[stream_id.index].viewers.push(id);
        if let Some(sdp) = answer {
            self.tell(Event::Answer { peer: key, sdp });
        }
        self.follow_if_elsewhere(stream_id);
        self.assign_tracks(now, id);
        Ok(())
    }

    fn handle_offer(&mut self, now: Instant, key: PeerKey, offer: &str) -> Result<(), Refusal> {
        let id = self.peer_id(key).ok_or(Refusal::Unknown)?;
        let mut result = Err(Refusal::Unknown);
        let config = self.config.clone();
        self.drive(now, id, |peer, sink| {
            result = peer.offer_again(&config, offer);
            peer.flush(now, sink);
        });
        let (answer, lines) = result?;
        self.claim_ufrag(id);
        self.tell(Event::Answer {
            peer: key,
            sdp: answer,
        });
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return Ok(());
        };
        let stream = peer.stream;
        match peer.role {
            Role::Publisher(_) => self.sync_tracks(now, stream, id, &lines),
            Role::Viewer(_) => self.assign_tracks(now, id),
        }
        Ok(())
    }

    fn handle_answer(&mut self, now: Instant, key: PeerKey, answer: &str) -> Result<(), Refusal> {
        let id = self.peer_id(key).ok_or(Refusal::Unknown)?;
        let mut result = Err(Refusal::Unknown);
        let config = self.config.clone();
        self.drive(now, id, |peer, sink| {
            result = peer.accept_answer(&config, answer);
            peer.flush(now, sink);
        });
        if let Err(refusal) = result {
            let is_lost = |peer: &mut Peer| peer.is_beyond_repair;
            if peer_mut(&mut self.peers, id).is_some_and(is_lost) {
                self.tell(Event::Refused { peer: key, refusal });
                self.end_peer(now, id, CloseReason::BadAnswer);
                return Ok(());
            }
            return Err(refusal);
        }
        // What came while the offer was open is offered now.
        self.assign_tracks(now, id);
        Ok(())
    }

    fn patch(&mut self, now: Instant, key: PeerKey, fragment: &str) -> Result<(), Refusal> {
        let id = self.peer_id(key).ok_or(Refusal::Unknown)?;
        let mut result = Err(Refusal::Unknown);
        let config = self.config.clone();
        self.drive(now, id, |peer, sink| {
            result = peer.patch(&config, fragment);
            peer.flush(now, sink);
        });
        let fragment = result?;
        self.claim_ufrag(id);
        self.tell(Event::Patched {
            peer: key,
            fragment,
        });
        Ok(())
    }

    /// An ICE restart gives a peer a new fragment to be known by.
    fn claim_ufrag(&mut self, id: PeerId) {
        if let Some(peer) = peer_mut(&mut self.peers, id) {
            let ufrag = peer.ufrag();
            self.demux.add_ufrag(id, ufrag, &mut peer.claims);
        }
    }

    fn select(&mut self, now: Instant, key: PeerKey, selection: Selection) -> Result<(), Refusal> {
        let id = self.peer_id(key).ok_or(Refusal::Unknown)?;
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return Err(Refusal::Unknown);
        };
        let Role::Viewer(subscriber) = &mut peer.role else {
            return Err(Refusal::OutOfOrder("a publisher selects nothing".into()));
        };
        let stream = peer.stream;
        subscriber.select(selection, &self.streams[stream.index].tracks);
        self.assign_tracks(now, id);
        self.request_wanted(now, id);
        Ok(())
    }

    /// Brings the stream's tracks in step with what its publisher negotiated.
    fn sync_tracks(&mut self, now: Instant, id: StreamId, peer: PeerId, lines: &[Offered]) {
        let Some(Peer {
            role: Role::Publisher(publisher),
            ..
        }) = peer_mut(&mut self.peers, peer)
        else {
            return;
        };
        let stream = &mut self.streams[id.index];
        let is_gone = |track: &Track| {
            let mid = publisher.mid_of(track.number);
            !lines.iter().any(|line| Some(line.mid) == mid)
        };
        let gone: Vec<u16> = stream
            .tracks
            .iter()
            .filter(|track| is_gone(track))
            .map(|track| track.number)
            .collect();
        for number in gone {
            stream.tracks.retain(|track| track.number != number);
            publisher.remove_track(number);
        }
        for line in lines {
            if let Some(number) = publisher.track_of(line.mid) {
                if line.is_inactive
                    && let Some(track) = stream.track_mut(number)
                {
                    track.mute();
                }
                continue;
            }
            if line.is_inactive || stream.tracks.len() >= self.config.tracks_max {
                continue;
            }
            let number = stream.number_track();
            let layers_max = self.config.layers_max.min(line.rids.len());
            stream.tracks.push(Track::new(
                number,
                line.kind,
                line.format,
                &line.rids[..layers_max],
                self.config.keyframe_interval,
            ));
            publisher.lines.push(Line {
                mid: line.mid,
                track: number,
            });
        }
        self.handle_tracks_changed(now, id);
    }
}
