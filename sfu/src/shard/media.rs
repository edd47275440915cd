//! Hot path. A packet's way from its publisher to every viewer, and keyframe requests' way back.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use str0m::media::Mid;
use str0m::rtp::{ExtensionValues, RedDecoder, RtpPacket, Ssrc};

use super::fault::{self, Fault};
use super::{Shard, peer_mut, stream_mut};
use crate::egress::{Nack, Place};
use crate::event::{CloseReason, Event, Kind, LayerReason, PublisherStats};
use crate::forward::codec;
use crate::forward::dependency::Descriptor;
use crate::forward::packet::{Packet, SourceId};
use crate::id::{PeerId, StreamId};
use crate::peer::{Peer, Role, Unrouted};
use crate::publisher::Route;
use crate::relay;
use crate::subscriber::{Outcome, Switched};
use crate::track::{Changes, Format};

/// What makes a keyframe wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Viewer,
    Joined,
    Switched,
    Relay,
}

impl Shard {
    /// Media of a known route arrived from a publisher.
    pub(super) fn handle_packet(&mut self, now: Instant, id: PeerId, route: Route, rtp: RtpPacket) {
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return;
        };
        let stream_id = peer.stream;
        let is_red = route.is_red(rtp.header.payload_type);
        let trap = &self.trap;
        let packet = fault::contain(|| {
            trap.spring(id.key, Fault::Packet);
            let Role::Publisher(publisher) = &mut peer.role else {
                return packet(route, rtp);
            };
            let captured = publisher.captured(route.kind, &rtp);
            let mut packet = packet(route, rtp);
            packet.captured = captured;
            publisher.read_dependency(&mut packet);
            packet
        });
        let Some(packet) = packet else {
            self.drop_broken(now, id);
            return;
        };
        let Some(stream) = stream_mut(&mut self.streams, stream_id) else {
            return;
        };
        let Some(track) = stream.track_mut(route.track) else {
            self.stats.packets_dropped.unknown += 1;
            return;
        };
        let changes = track.handle_packet(&packet);
        if changes.ladder {
            self.update_ladders(stream_id, route.track);
        }
        if changes.info {
            self.tell_tracks(stream_id);
        }
        let stream = &mut self.streams[stream_id.index];
        if !stream.followers.is_empty() {
            stream.batch.push(relay::Packet {
                track: route.track,
                is_red,
                packet: packet.clone(),
            });
            if !stream.is_dirty {
                stream.is_dirty = true;
                self.dirty_streams.push(stream_id);
            }
        }
        self.fan_out(now, stream_id, route.track, is_red, &packet);
        if changes.ladder {
            self.request_wanted_of(now, stream_id);
            if packet.kind == Kind::Video && !packet.meta.keyframe {
                self.mend_layer(now, stream_id, route.track, packet.slot);
            }
        }
    }

    /// A layer is heard again, in the middle of its pictures: what was lost meanwhile is more than NACKs bring back, so
    /// whoever receives it needs a keyframe.
    fn mend_layer(&mut self, now: Instant, id: StreamId, track: u16, slot: u8) {
        let stream = &self.streams[id.index];
        let receives = |viewer: &PeerId| {
            let peer = self.peers.get(viewer.index);
            peer.is_some_and(|peer| match &peer.role {
                Role::Viewer(subscriber) => subscriber.receives(track, slot),
                Role::Publisher(_) => false,
            })
        };
        if !stream.followers.is_empty() || stream.viewers.iter().any(receives) {
            self.request_keyframe(now, id, track, slot, Cause::Switched);
        }
    }

    /// Media of an SSRC or payload type that is new: find its track and layer, then go on as with any other.
    pub(super) fn handle_unrouted(&mut self, now: Instant, id: PeerId, unrouted: Unrouted) {
        let Some(Peer {
            stream: stream_id,
            role: Role::Publisher(publisher),
            ..
        }) = peer_mut(&mut self.peers, id)
        else {
            return;
        };
        let stream_id = *stream_id;
        let Some(stream) = stream_mut(&mut self.streams, stream_id) else {
            return;
        };
        let track = publisher
            .track_of(unrouted.mid)
            .and_then(|number| stream.track_mut(number));
        let format = Format::new(unrouted.params.spec());
        let (Some(track), Some(format)) = (track, format) else {
            self.stats.packets_dropped.unknown += 1;
            return;
        };
        let slot = track.slot_of(unrouted.rid.as_deref(), self.config.layers_max);
        let is_audio = unrouted.params.spec().codec.is_audio();
        let (Some(slot), true) = (slot, is_audio == (track.kind == Kind::Audio)) else {
            self.stats.packets_dropped.unknown += 1;
            return;
        };
        self.next_source += 1;
        let route = publisher.add_route(
            unrouted.packet.header.ssrc,
            &unrouted.params,
            format,
            track.number,
            track.kind,
            slot,
            SourceId(self.next_source),
            *unrouted.packet.seq_no,
        );
        if track.format != format {
            track.format = format;
            track.forget_spatial();
            self.handle_tracks_changed(now, stream_id);
        }
        self.handle_packet(now, id, route, unrouted.packet);
    }

    /// Gives a packet to every viewer of its track.
    pub(super) fn fan_out(
        &mut self,
        now: Instant,
        stream_id: StreamId,
        track: u16,
        is_red: bool,
        packet: &Packet,
    ) {
        let stream = &mut self.streams[stream_id.index];
        // Sound is not asked for again: it would come too late.
        let is_kept = packet.kind == Kind::Video && !stream.viewers.is_empty();
        let kept = stream.track_mut(track).filter(|_| is_kept);
        let position = kept.and_then(|track| track.keep(packet));
        let place = position.map(|position| Place {
            track,
            slot: packet.slot,
            position,
        });
        let stream = &self.streams[stream_id.index];
        let mut copies = 0;
        let mut needs_keyframe = false;
        let mut broken: SmallVec<[PeerId; 0]> = SmallVec::new();
        let mut switched: SmallVec<[(PeerId, Switched); 4]> = SmallVec::new();
        // Sound without its RED, made when the first viewer needs it.
        let mut primary: Option<Option<Packet>> = None;
        for &viewer in &stream.viewers {
            let Some(peer) = peer_mut(&mut self.peers, viewer) else {
                continue;
            };
            let Role::Viewer(subscriber) = &mut peer.role else {
                continue;
            };
            let trap = &self.trap;
            let outcome = fault::contain(|| {
                trap.spring(viewer.key, Fault::Forward);
                subscriber.forward(track, packet)
            });
            let Some(outcome) = outcome else {
                broken.push(viewer);
                continue;
            };
            match outcome {
                Outcome::Send {
                    line,
                    payload_types,
                    egress,
                    switched: change,
                } => {
                    let (pt, packet) = match (is_red, payload_types.red) {
                        (false, _) => (payload_types.main, packet),
                        (true, Some(red)) => (red, packet),
                        (true, None) => {
                            let plain = primary.get_or_insert_with(|| without_red(packet));
                            let Some(plain) = plain else {
                                self.stats.packets_dropped.undecodable += 1;
                                continue;
                            };
                            (payload_types.main, &*plain)
                        }
                    };
                    let datagrams = &mut self.datagrams;
                    let sent = fault::contain(|| {
                        subscriber.send(line, pt, packet, &egress, place, datagrams)
                    });
                    let Some(is_sent) = sent else {
                        broken.push(viewer);
                        continue;
                    };
                    copies += u32::from(is_sent);
                    if subscriber.link.is_report_due(now) && !peer.is_dirty {
                        peer.is_dirty = true;
                        self.dirty_peers.push(viewer);
                    }
                    if let Some(change) = change {
                        switched.push((viewer, change));
                    }
                }
                Outcome::NeedsKeyframe => needs_keyframe = true,
                Outcome::Undecodable => self.stats.packets_dropped.undecodable += 1,
                Outcome::Kept | Outcome::NotReady => {}
            }
        }
        if copies > 0 {
            let copies_64 = u64::from(copies);
            let bytes = packet.payload.len() as u64 * copies_64;
            self.stats.packets_forwarded.add(packet.kind, copies_64);
            self.stats.bytes_forwarded.add(packet.kind, bytes);
            let has_room = self.arrivals.len() < super::ARRIVALS_MAX;
            match self.arrivals.last_mut() {
                Some((arrived, n)) if *arrived == packet.arrived => *n += copies,
                // A shell that does not say when it sent must not make this grow.
                _ if has_room => self.arrivals.push((packet.arrived, copies)),
                _ => {}
            }
        }
        for (viewer, change) in switched {
            self.tell_layer(stream_id, track, packet.slot, viewer, change);
        }
        if needs_keyframe {
            self.request_keyframe(now, stream_id, track, packet.slot, Cause::Switched);
        }
        for viewer in broken {
            self.drop_broken(now, viewer);
        }
    }

    fn tell_layer(
        &mut self,
        stream: StreamId,
        track: u16,
        slot: u8,
        viewer: PeerId,
        Switched { reason, spatial }: Switched,
    ) {
        if reason != LayerReason::Started {
            self.stats.layer_switches += 1;
        }
        let layer = self.streams[stream.index]
            .track(track)
            .map(|track| track.layer_info(slot, spatial))
            .unwrap_or_default();
        self.tell(Event::Layer {
            peer: viewer.key,
            layer,
            reason,
        });
    }

    /// A peer is connected, or is heard again.
    pub(super) fn handle_connected(&mut self, now: Instant, id: PeerId) {
        self.tell(Event::Connected { peer: id.key });
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return;
        };
        let Role::Viewer(subscriber) = &mut peer.role else {
            return;
        };
        let tracks = &self.streams[peer.stream.index].tracks;
        let datagrams = &mut self.datagrams;
        match fault::contain(|| subscriber.start(tracks, datagrams)) {
            None => self.drop_broken(now, id),
            Some(None) => self.end_peer(now, id, CloseReason::Failed),
            Some(Some(count)) => {
                self.stats.packets_forwarded.add(Kind::Video, count);
                self.mark_dirty(id);
            }
        }
    }

    /// A viewer lacks packets.
    pub(super) fn handle_nack(&mut self, now: Instant, id: PeerId, ssrc: Ssrc, nack: Nack) {
        let Some(Peer {
            stream,
            role: Role::Viewer(subscriber),
            ..
        }) = peer_mut(&mut self.peers, id)
        else {
            return;
        };
        let tracks = &self.streams[stream.index].tracks;
        let datagrams = &mut self.datagrams;
        match fault::contain(|| subscriber.repeat(ssrc, nack, tracks, datagrams)) {
            None => self.drop_broken(now, id),
            Some((sent, refused)) => {
                self.stats.repeats.sent += sent;
                self.stats.repeats.refused += refused;
            }
        }
    }

    /// A viewer asked for a keyframe on one of its lines.
    pub(super) fn handle_keyframe_request(&mut self, now: Instant, id: PeerId, mid: Mid) {
        let Some(Peer {
            stream,
            role: Role::Viewer(subscriber),
            ..
        }) = peer_mut(&mut self.peers, id)
        else {
            return;
        };
        let stream = *stream;
        if let Some((track, slot)) = subscriber.received_on(mid) {
            self.request_keyframe(now, stream, track, slot, Cause::Viewer);
        }
    }

    /// Somebody needs a keyframe of a layer: ask for it, unless that was done a moment ago.
    pub(super) fn request_keyframe(
        &mut self,
        now: Instant,
        id: StreamId,
        track: u16,
        slot: u8,
        cause: Cause,
    ) {
        let counts = &mut self.stats.keyframe_requests;
        match cause {
            Cause::Viewer => counts.viewer += 1,
            Cause::Joined => counts.joined += 1,
            Cause::Switched => counts.switched += 1,
            Cause::Relay => counts.relay += 1,
        }
        let Some(stream) = stream_mut(&mut self.streams, id) else {
            return;
        };
        let Some(track) = stream.track_mut(track) else {
            return;
        };
        if usize::from(slot) >= track.layers.len() {
            return;
        }
        let number = track.number;
        if track.requests.request(now, slot) {
            self.send_keyframe_request(id, number, slot);
        }
        self.schedule_stream(id);
    }

    fn send_keyframe_request(&mut self, id: StreamId, track: u16, slot: u8) {
        let stream = &self.streams[id.index];
        if stream.home != self.id {
            self.send_to_home(id, relay::Body::Keyframe { track, slot });
            self.stats.keyframe_requests_sent += 1;
            return;
        }
        let Some(publisher_id) = stream.publisher else {
            return;
        };
        let rid = stream
            .track(track)
            .and_then(|track| track.layers.get(usize::from(slot)))
            .and_then(|layer| layer.rid.as_deref());
        let Some(peer) = peer_mut(&mut self.peers, publisher_id) else {
            return;
        };
        let Role::Publisher(publisher) = &peer.role else {
            return;
        };
        let Some(mid) = publisher.mid_of(track) else {
            return;
        };
        if peer.request_keyframe(mid, rid) {
            self.stats.keyframe_requests_sent += 1;
            self.mark_dirty(publisher_id);
        }
    }

    /// Lets every viewer's selection hear that layers came, went or changed places.
    pub(super) fn update_ladders(&mut self, id: StreamId, track: u16) {
        let stream = &self.streams[id.index];
        let Some(track) = stream.track(track) else {
            return;
        };
        for &viewer in &stream.viewers {
            if let Some(Peer {
                role: Role::Viewer(subscriber),
                ..
            }) = peer_mut(&mut self.peers, viewer)
            {
                subscriber.handle_ladder(track);
            }
        }
        if !stream.followers.is_empty() {
            self.relay_tracks(id);
        }
    }

    /// Requests what any viewer of a stream waits for.
    pub(super) fn request_wanted_of(&mut self, now: Instant, id: StreamId) {
        let mut wanted: SmallVec<[(u16, u8); 4]> = SmallVec::new();
        for &viewer in &self.streams[id.index].viewers {
            if let Some(Peer {
                role: Role::Viewer(subscriber),
                ..
            }) = peer_mut(&mut self.peers, viewer)
            {
                for want in subscriber.wants_keyframes() {
                    if !wanted.contains(&want) {
                        wanted.push(want);
                    }
                }
            }
        }
        for (track, slot) in wanted {
            self.request_keyframe(now, id, track, slot, Cause::Switched);
        }
    }

    /// Requests what one viewer waits for.
    pub(super) fn request_wanted(&mut self, now: Instant, id: PeerId) {
        let Some(Peer {
            stream,
            role: Role::Viewer(subscriber),
            ..
        }) = peer_mut(&mut self.peers, id)
        else {
            return;
        };
        let stream = *stream;
        let wanted: SmallVec<[(u16, u8); 2]> = subscriber.wants_keyframes().collect();
        for (track, slot) in wanted {
            self.request_keyframe(now, stream, track, slot, Cause::Switched);
        }
    }

    /// Tracks came, went or changed their codec: tell everybody.
    pub(super) fn handle_tracks_changed(&mut self, now: Instant, id: StreamId) {
        self.tell_tracks(id);
        let viewers = self.streams[id.index].viewers.clone();
        for viewer in viewers {
            self.assign_tracks(now, viewer);
        }
    }

    /// Tells the shell and the followers what tracks there are.
    pub(super) fn tell_tracks(&mut self, id: StreamId) {
        let stream = &self.streams[id.index];
        if stream.home == self.id {
            let event = Event::Tracks {
                stream: stream.key,
                tracks: stream.infos(),
            };
            self.tell(event);
            self.relay_tracks(id);
        }
    }

    /// Puts the tracks on a viewer's lines, and offers lines that are missing.
    pub(super) fn assign_tracks(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return;
        };
        let stream = peer.stream;
        let Role::Viewer(subscriber) = &mut peer.role else {
            return;
        };
        let (trap, tracks) = (&self.trap, &self.streams[stream.index].tracks);
        let assignment = fault::contain(|| {
            trap.spring(id.key, Fault::Assign);
            subscriber.assign(tracks)
        });
        let Some(assignment) = assignment else {
            self.drop_broken(now, id);
            return;
        };
        let mut offer = None;
        if !assignment.missing.is_empty() && peer.can_offer() {
            self.drive(now, id, |peer, sink| {
                offer = peer.offer_lines(&assignment.missing);
                peer.flush(now, sink);
            });
        }
        if let Some(sdp) = offer {
            self.tell(Event::Offer { peer: id.key, sdp });
        }
        for (kind, codec) in assignment.undecodable {
            self.tell(Event::Undecodable {
                peer: id.key,
                kind,
                codec,
            });
        }
        for (track, slot) in assignment.keyframes {
            self.request_keyframe(now, stream, track, slot, Cause::Joined);
        }
    }

    /// The clock of a stream: layers that stopped, requests to repeat, statistics.
    pub(super) fn wake_stream(&mut self, now: Instant, id: StreamId, at: Instant) {
        let Some(stream) = stream_mut(&mut self.streams, id) else {
            return;
        };
        if !stream.scheduled.fires(at) {
            return;
        }
        if stream.ticks_at.is_some_and(|at| at <= now) {
            stream.ticks_at = Some(now + super::TICK);
            self.tick(now, id);
        }
        let mut requests: SmallVec<[(u16, u8); 4]> = SmallVec::new();
        for track in &mut self.streams[id.index].tracks {
            while let Some(slot) = track.requests.poll(now) {
                requests.push((track.number, slot));
            }
        }
        for (track, slot) in requests {
            self.send_keyframe_request(id, track, slot);
        }
        let stream = &mut self.streams[id.index];
        if stream.stats_at.is_some_and(|at| at <= now) {
            stream.stats_at = Some(now + self.config.stats_interval);
            self.tell_publisher_stats(id);
        }
        self.schedule_stream(id);
    }

    fn tick(&mut self, now: Instant, id: StreamId) {
        let mut laddered: SmallVec<[u16; 2]> = SmallVec::new();
        let mut is_told = false;
        for track in &mut self.streams[id.index].tracks {
            let Changes { ladder, info } = track.handle_tick(now);
            if ladder {
                laddered.push(track.number);
            }
            is_told |= info;
        }
        for &track in &laddered {
            self.update_ladders(id, track);
        }
        if is_told {
            self.tell_tracks(id);
        }
        if !laddered.is_empty() {
            self.request_wanted_of(now, id);
        }
    }

    fn tell_publisher_stats(&mut self, id: StreamId) {
        let stream = &self.streams[id.index];
        let Some(publisher_id) = stream.publisher else {
            return;
        };
        let layers = stream.tracks.iter().flat_map(|track| &track.layers);
        let bitrate_bps = layers.map(|layer| layer.bitrate_bps).sum();
        let video = stream.tracks.iter().find(|t| t.kind == Kind::Video);
        let video_layers = video.map(|t| t.layer_infos()).unwrap_or_default();
        let key = stream.key;
        let Some(Peer {
            role: Role::Publisher(publisher),
            ..
        }) = peer_mut(&mut self.peers, publisher_id)
        else {
            return;
        };
        let stats = PublisherStats {
            bitrate_bps,
            fps: video_layers.iter().map(|l| l.fps).max().unwrap_or_default(),
            rtt: publisher.link.rtt,
            loss: publisher.link.loss,
            layers: video_layers,
        };
        self.tell(Event::PublisherStats {
            stream: key,
            peer: publisher_id.key,
            stats,
        });
    }
}

/// What viewers get of a packet that arrived.
fn packet(route: Route, rtp: RtpPacket) -> Packet {
    let values = rtp.header.ext_vals;
    let dependency = values.user_values.get::<Descriptor>();
    let codec = route.format.codec;
    let meta = codec::inspect(codec, &rtp.payload, dependency.map(Descriptor::bytes));
    let extensions = ExtensionValues {
        audio_level: values.audio_level,
        voice_activity: values.voice_activity,
        video_orientation: values.video_orientation,
        video_content_type: values.video_content_type,
        abs_capture_time: values.abs_capture_time,
        play_delay_min: values.play_delay_min,
        play_delay_max: values.play_delay_max,
        user_values: values.user_values,
        ..ExtensionValues::default()
    };
    Packet {
        kind: route.kind,
        codec,
        source: route.source,
        slot: route.slot,
        seq_no: rtp.seq_no,
        timestamp: rtp.header.timestamp,
        marker: rtp.header.marker,
        payload: rtp.payload,
        extensions,
        arrived: rtp.timestamp,
        captured: rtp.timestamp,
        meta,
    }
}

/// A packet with the newest sound of a RED packet (RFC 2198), for viewers who did not negotiate RED.
fn without_red(packet: &Packet) -> Option<Packet> {
    let blocks = RedDecoder::decode(&packet.payload).ok()?;
    let primary = blocks.iter().find(|block| block.is_primary)?;
    Some(Packet {
        payload: Arc::from(primary.payload),
        ..packet.clone()
    })
}
