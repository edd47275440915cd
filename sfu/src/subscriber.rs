//! The egress half of a peer: its media lines, what each carries, and what the viewer asked for.
//!
//! A line keeps its SSRC and its numbering for the life of the session. Behind it tracks come and go: the first video
//! track of the stream is on the first video line, and so on, whoever publishes them.

use std::time::Instant;

use smallvec::SmallVec;
use str0m::media::{Mid, Pt};
use str0m::rtp::Ssrc;

use crate::config::WallClock;
use crate::datagrams::Datagrams;
use crate::egress::{Egress, Link, Nack, PayloadTypes, Place};
use crate::event::{Codec, Kind, LayerReason, Selection};
use crate::forward::Forwarder;
use crate::forward::packet::{self, Packet};
use crate::layer::Ladder;
use crate::track::{Format, Track};

/// What a viewer receives.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) selection: Selection,
    pub(crate) lines: SmallVec<[Line; 2]>,
    pub(crate) link: Link,
    seed: u64,
}

/// One media line towards a viewer.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) mid: Mid,
    pub(crate) kind: Kind,
    /// There once the line is negotiated.
    egress: Option<Egress>,
    /// The viewer turned the line down: what is on it cannot be received.
    is_refused: bool,
    forwarder: Forwarder,
    subscription: Option<Subscription>,
}

/// The track on a line.
#[derive(Clone, Copy, Debug)]
struct Subscription {
    track: u16,
    format: Format,
    payload_types: Option<PayloadTypes>,
}

/// What a viewer receives from a packet on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switched {
    pub(crate) reason: LayerReason,
    /// The highest spatial layer inside the encoding, `None` for all there are.
    pub(crate) spatial: Option<u8>,
}

/// What became of a packet for this viewer.
pub(crate) enum Outcome {
    /// It goes out on a line.
    Send {
        /// Which of [`Subscriber::lines`].
        line: usize,
        payload_types: PayloadTypes,
        egress: packet::Egress,
        /// Set when the layer changes with this packet.
        switched: Option<Switched>,
    },
    /// Not wanted, or not yet.
    Kept,
    /// It is wanted, but a keyframe must come first.
    NeedsKeyframe,
    /// Nothing negotiated decodes it.
    Undecodable,
    /// The line is not negotiated, or the track is on none.
    NotReady,
}

/// What an assignment of tracks to lines changed.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    /// Tracks that now want a keyframe of a slot for this viewer.
    pub(crate) keyframes: SmallVec<[(u16, u8); 2]>,
    /// Tracks that this viewer cannot decode.
    pub(crate) undecodable: SmallVec<[(Kind, Codec); 1]>,
    /// Lines that are missing, by kind.
    pub(crate) missing: SmallVec<[Kind; 2]>,
}

impl Subscriber {
    /// A viewer without lines; `seed` decides its first sequence numbers.
    pub(crate) fn new(selection: Selection, seed: u64) -> Self {
        Self {
            selection,
            lines: SmallVec::new(),
            link: Link::default(),
            seed,
        }
    }

    /// Adds a line that is offered or was offered to us.
    pub(crate) fn add_line(&mut self, mid: Mid, kind: Kind) {
        // Any odd multiplier spreads the lines' first sequence numbers.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.lines.push(Line {
            mid,
            kind,
            egress: None,
            is_refused: false,
            forwarder: Forwarder::new(kind, self.selection, &Ladder::default(), self.seed >> 33),
            subscription: None,
        });
    }

    /// A line is negotiated. One with an SSRC of another line is refused: no key may meet the same SSRC and index twice.
    pub(crate) fn set_egress(&mut self, mid: Mid, egress: Egress) {
        let mut known = self.lines.iter().filter_map(|line| line.egress.as_ref());
        let is_taken = |ssrc: Ssrc| egress.ssrcs().any(|new| new == ssrc);
        if known.any(|known| known.ssrcs().any(is_taken)) {
            self.refuse_line(mid);
            return;
        }
        if let Some(line) = self.lines.iter_mut().find(|line| line.mid == mid) {
            line.egress = Some(egress);
            line.subscription = None;
        }
    }

    /// A line was turned down. It keeps its place, so that it is not offered again.
    pub(crate) fn refuse_line(&mut self, mid: Mid) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.mid == mid) {
            line.is_refused = true;
        }
    }

    /// Puts the stream's tracks on the lines.
    pub(crate) fn assign(&mut self, tracks: &[Track]) -> Assignment {
        let mut assignment = Assignment::default();
        for kind in [Kind::Audio, Kind::Video] {
            if kind == Kind::Video && self.selection.audio_only {
                continue;
            }
            let mut lines = self.lines.iter_mut().filter(|line| line.kind == kind);
            for track in tracks.iter().filter(|track| track.kind == kind) {
                match lines.next() {
                    Some(line) => line.subscribe(track, self.selection, &mut assignment),
                    None => assignment.missing.push(kind),
                }
            }
            lines.for_each(|line| line.subscription = None);
        }
        assignment
    }

    /// The viewer wants something else.
    pub(crate) fn select(&mut self, selection: Selection, tracks: &[Track]) {
        self.selection = selection;
        for line in &mut self.lines {
            if let Some(track) = line.track(tracks) {
                line.forwarder.select(selection, &track.ladder);
            }
        }
    }

    /// The layers of a track changed. Gives the slot whose keyframe is wanted now.
    pub(crate) fn handle_ladder(&mut self, track: &Track) -> Option<u8> {
        let line = self.line_of(track.number)?;
        line.forwarder.handle_ladder(&track.ladder);
        line.wants_keyframe()
    }

    /// The tracks and slots whose keyframes this viewer waits for.
    pub(crate) fn wants_keyframes(&self) -> impl Iterator<Item = (u16, u8)> {
        self.lines.iter().filter_map(|line| {
            let slot = line.wants_keyframe()?;
            Some((line.subscription?.track, slot))
        })
    }

    /// Whether a layer is being received.
    pub(crate) fn receives(&self, track: u16, slot: u8) -> bool {
        self.lines.iter().any(|line| {
            line.forwarder.current() == Some(slot)
                && line.subscription.is_some_and(|s| s.track == track)
        })
    }

    /// The track and the slot received on a media line.
    pub(crate) fn received_on(&self, mid: Mid) -> Option<(u16, u8)> {
        let line = self.lines.iter().find(|line| line.mid == mid)?;
        let slot = line.wants_keyframe().or_else(|| line.forwarder.current())?;
        Some((line.subscription?.track, slot))
    }

    /// Judges and numbers a packet for this viewer.
    pub(crate) fn forward(&mut self, track: u16, packet: &Packet) -> Outcome {
        let carries = |line: &Line| line.subscription.is_some_and(|s| s.track == track);
        let Some(index) = self.lines.iter().position(carries) else {
            return Outcome::NotReady;
        };
        let line = &mut self.lines[index];
        let (Some(_), Some(subscription)) = (&line.egress, line.subscription) else {
            return Outcome::NotReady;
        };
        let Some(payload_types) = subscription.payload_types else {
            return Outcome::Undecodable;
        };
        match line.forwarder.forward(packet) {
            Some(forwarded) => Outcome::Send {
                line: index,
                payload_types,
                egress: forwarded.egress,
                switched: forwarded.switched.map(|reason| Switched {
                    reason,
                    spatial: line.forwarder.spatial(),
                }),
            },
            None if line.forwarder.wants_keyframe() == Some(packet.slot) => Outcome::NeedsKeyframe,
            None => Outcome::Kept,
        }
    }

    /// Sends a packet that [`Self::forward`] has numbered. False when it cannot leave yet.
    pub(crate) fn send(
        &mut self,
        line: usize,
        pt: Pt,
        packet: &Packet,
        egress: &packet::Egress,
        place: Option<Place>,
        datagrams: &mut Datagrams,
    ) -> bool {
        let Some(Line {
            egress: Some(end), ..
        }) = self.lines.get_mut(line)
        else {
            return false;
        };
        end.send(&mut self.link, pt, packet, egress, place, datagrams)
    }

    /// The connection is up: what waited for it leaves. Tells how many packets that were; `None` when nothing can be sent.
    pub(crate) fn start(&mut self, tracks: &[Track], datagrams: &mut Datagrams) -> Option<u64> {
        if self.link.is_open() {
            return Some(0);
        }
        if !self.link.open() {
            return None;
        }
        let mut count = 0;
        for line in &mut self.lines {
            if let Some(egress) = &mut line.egress {
                count += egress.send_waiting(&mut self.link, tracks, datagrams);
            }
        }
        Some(count)
    }

    /// Sends again what the viewer lacks on an SSRC. Tells how many packets were sent, and how many were too much.
    pub(crate) fn repeat(
        &mut self,
        ssrc: Ssrc,
        nack: Nack,
        tracks: &[Track],
        datagrams: &mut Datagrams,
    ) -> (u64, u64) {
        let (mut sent, mut refused) = (0, 0);
        let ends = self
            .lines
            .iter_mut()
            .filter_map(|line| line.egress.as_mut());
        for egress in ends.filter(|egress| egress.ssrc() == ssrc) {
            for seq_no in nack.seq_nos() {
                match egress.repeat(&mut self.link, seq_no, tracks, datagrams) {
                    Some(true) => sent += 1,
                    Some(false) => refused += 1,
                    None => {}
                }
            }
        }
        (sent, refused)
    }

    /// The viewer has received packets of an SSRC.
    pub(crate) fn handle_known(&mut self, ssrc: Ssrc) {
        for line in &mut self.lines {
            if let Some(egress) = &mut line.egress {
                egress.handle_known(ssrc);
            }
        }
    }

    /// The media line of an SSRC.
    pub(crate) fn mid_of(&self, ssrc: Ssrc) -> Option<Mid> {
        let is_on = |line: &&Line| line.egress.as_ref().is_some_and(|e| e.ssrc() == ssrc);
        self.lines.iter().find(is_on).map(|line| line.mid)
    }

    /// Tells the viewer what time belongs to its lines' timestamps, and that it was the last time.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        wall: WallClock,
        is_last: bool,
        datagrams: &mut Datagrams,
    ) {
        let lines = self.lines.iter().filter_map(|line| line.egress.as_ref());
        self.link.report(now, wall, lines, is_last, datagrams);
    }

    /// Whether any line carries sound or pictures of a track this viewer can decode.
    pub(crate) fn lines_of(&self, kind: Kind) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.kind == kind)
    }

    fn line_of(&mut self, track: u16) -> Option<&mut Line> {
        self.lines
            .iter_mut()
            .find(|line| line.subscription.is_some_and(|s| s.track == track))
    }
}

impl Line {
    /// Whether a track can be decoded by what was negotiated here.
    pub(crate) fn can_carry(&self, track: &Track) -> bool {
        let egress = self.egress.as_ref();
        egress.is_some_and(|egress| egress.payload_types(track.format).is_some())
    }

    /// Whether it is settled what the line can carry, be it nothing.
    pub(crate) fn is_negotiated(&self) -> bool {
        self.egress.is_some() || self.is_refused
    }

    fn subscribe(&mut self, track: &Track, selection: Selection, assignment: &mut Assignment) {
        if !self.is_negotiated() {
            return;
        }
        let is_same = self
            .subscription
            .is_some_and(|s| s.track == track.number && s.format == track.format);
        if is_same {
            return;
        }
        let egress = self.egress.as_ref();
        let payload_types = egress.and_then(|egress| egress.payload_types(track.format));
        self.subscription = Some(Subscription {
            track: track.number,
            format: track.format,
            payload_types,
        });
        if payload_types.is_none() {
            assignment.undecodable.push((self.kind, track.format.codec));
            return;
        }
        self.forwarder.select(selection, &track.ladder);
        if self.kind == Kind::Video {
            // The target may be the slot it was before, under another publisher: a keyframe is wanted in any case.
            let slots = track.ladder.choose(selection.quality);
            assignment
                .keyframes
                .extend(slots.map(|slot| (track.number, slot)));
        }
    }

    fn track<'a>(&self, tracks: &'a [Track]) -> Option<&'a Track> {
        let number = self.subscription?.track;
        tracks.iter().find(|track| track.number == number)
    }

    fn wants_keyframe(&self) -> Option<u8> {
        self.subscription?.payload_types?;
        self.forwarder.wants_keyframe()
    }
}
