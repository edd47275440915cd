//! What a home shard and its followers do with each other's messages.

use std::sync::Arc;
use std::time::Instant;

use super::media::Cause;
use super::{Shard, stream_mut};
use crate::event::Output;
use crate::id::{ShardId, StreamId};
use crate::relay::{Body, Message, Packet, Track};
use crate::track;

impl Shard {
    pub(super) fn handle_message(&mut self, now: Instant, from: ShardId, message: Message) {
        let key = message.stream;
        match message.body {
            // The follower's worker may have been quicker than the command that opens the stream here.
            Body::Follow => {
                if let Some(id) = self.stream_entry(key, self.id) {
                    let followers = &mut self.streams[id.index].followers;
                    if !followers.contains(&from) {
                        followers.push(from);
                    }
                    self.relay_tracks(id);
                }
            }
            Body::Unfollow => {
                if let Some(id) = self.stream_id(key) {
                    let stream = &mut self.streams[id.index];
                    stream.followers.retain(|follower| *follower != from);
                    if !stream.is_open && stream.followers.is_empty() {
                        self.streams.remove(id.index);
                        self.stream_ids.remove(&key);
                    }
                }
            }
            Body::Keyframe { track, slot } => {
                if let Some(id) = self.stream_id(key) {
                    self.request_keyframe(now, id, track, slot, Cause::Relay);
                }
            }
            Body::Tracks(tracks) => {
                if let Some(id) = self.followed(key, from) {
                    self.adopt_tracks(now, id, &tracks);
                }
            }
            Body::Packets(packets) => match self.followed(key, from) {
                Some(id) => self.handle_batch(now, id, &packets),
                None => self.stats.packets_dropped.relay += packets.len() as u64,
            },
        }
    }

    /// The stream of a message from its home shard, if it is followed here.
    fn followed(&self, key: crate::id::StreamKey, from: ShardId) -> Option<StreamId> {
        let id = self.stream_id(key)?;
        let stream = &self.streams[id.index];
        (stream.is_following && stream.home == from).then_some(id)
    }

    /// Takes over the list of tracks that the home shard sent.
    fn adopt_tracks(&mut self, now: Instant, id: StreamId, tracks: &[Track]) {
        let stream = &mut self.streams[id.index];
        stream
            .tracks
            .retain(|known| tracks.iter().any(|track| track.number == known.number));
        for track in tracks {
            if stream.track(track.number).is_none() {
                stream.tracks.push(track::Track::new(
                    track.number,
                    track.kind,
                    track.format,
                    &[],
                    self.config.keyframe_interval,
                ));
            }
            if let Some(known) = stream.track_mut(track.number) {
                known.format = track.format;
                known.layers = track.layers.clone();
                known.is_muted = track.is_muted;
                known.rebuild_ladder();
            }
        }
        // The order in which tracks go on lines is that of their numbers, here as in the home shard.
        stream.tracks.sort_by_key(|track| track.number);
        for track in tracks {
            self.update_ladders(id, track.number);
        }
        self.handle_tracks_changed(now, id);
        self.request_wanted_of(now, id);
    }

    fn handle_batch(&mut self, now: Instant, id: StreamId, packets: &[Packet]) {
        for relayed in packets {
            let stream = &mut self.streams[id.index];
            let Some(track) = stream.track_mut(relayed.track) else {
                self.stats.packets_dropped.relay += 1;
                continue;
            };
            if relayed.packet.meta.keyframe {
                track.requests.handle_keyframe(relayed.packet.slot);
            }
            let mut packet = relayed.packet.clone();
            // A copy of our own, see the head of `relay.rs`.
            packet.payload = Arc::from(&*relayed.packet.payload);
            self.stats.relay_bytes.received += packet.payload.len() as u64;
            self.fan_out(now, id, relayed.track, relayed.is_red, &packet);
        }
    }

    /// Sends the followers what tracks there are.
    pub(super) fn relay_tracks(&mut self, id: StreamId) {
        let stream = &self.streams[id.index];
        if stream.followers.is_empty() || stream.home != self.id {
            return;
        }
        let tracks: Arc<[Track]> = stream
            .tracks
            .iter()
            .map(|track| Track {
                number: track.number,
                kind: track.kind,
                format: track.format,
                layers: track.layers.clone(),
                is_muted: track.is_muted,
            })
            .collect();
        let (key, followers) = (stream.key, stream.followers.clone());
        for to in followers {
            let body = Body::Tracks(tracks.clone());
            let message = Message { stream: key, body };
            self.outputs.push_back(Output::Relay { to, message });
        }
    }

    /// Sends the followers what arrived in this turn.
    pub(super) fn flush_batch(&mut self, id: StreamId) {
        let Some(stream) = stream_mut(&mut self.streams, id) else {
            return;
        };
        stream.is_dirty = false;
        let packets: Arc<[Packet]> = stream.batch.drain(..).collect();
        let bytes: u64 = packets.iter().map(|p| p.packet.payload.len() as u64).sum();
        let (key, followers) = (stream.key, stream.followers.clone());
        for to in followers {
            self.stats.relay_bytes.sent += bytes;
            let body = Body::Packets(packets.clone());
            let message = Message { stream: key, body };
            self.outputs.push_back(Output::Relay { to, message });
        }
    }

    /// Asks the home shard of a stream to send, if that is another one and it was not asked yet.
    pub(super) fn follow_if_elsewhere(&mut self, id: StreamId) {
        let stream = &mut self.streams[id.index];
        if stream.home != self.id && !stream.is_following {
            stream.is_following = true;
            self.send_to_home(id, Body::Follow);
        }
    }

    /// Tells the home shard that nobody watches here any more.
    pub(super) fn unfollow_if_unwatched(&mut self, id: StreamId) {
        let Some(stream) = stream_mut(&mut self.streams, id) else {
            return;
        };
        if stream.is_following && stream.viewers.is_empty() {
            stream.is_following = false;
            stream.tracks.clear();
            self.send_to_home(id, Body::Unfollow);
        }
    }

    pub(super) fn send_to_home(&mut self, id: StreamId, body: Body) {
        let stream = &self.streams[id.index];
        self.outputs.push_back(Output::Relay {
            to: stream.home,
            message: Message {
                stream: stream.key,
                body,
            },
        });
    }
}
