//! Hot path. Which layer of a video track a viewer receives, and when it changes.
//!
//! A decoder can change layers only at a keyframe, so a viewer goes on with its current layer until the first packet of
//! a keyframe of the layer it should have. Until that comes, somebody must ask the publisher for it: that is what
//! [`Selector::wants_keyframe`] tells.
//!
//! Spatial layers inside one encoding are chosen by leaving frames out. A viewer steps down with the next picture, because
//! what it goes on with it had all along, and steps up at a keyframe: frames of upper layers depend on earlier ones that
//! it did not get. Where the layers do not contain each other (the `_KEY` modes), stepping down takes a keyframe too.

use crate::event::{LayerReason, Selection};
use crate::layer::Ladder;

use super::packet::{Packet, SourceId};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the layer the viewer receives.
    Forward,
    /// The viewer starts or changes layers with this packet.
    Switch(LayerReason),
    /// It belongs to what the viewer receives, in a spatial layer above: the numbers close up behind it.
    Skip,
    /// It is not for this viewer, or not yet.
    Drop,
}

/// Chooses for one video subscription.
#[derive(Debug, Default)]
pub struct Selector {
    selection: Selection,
    /// What should be received; `None` while nothing should.
    target: Option<Target>,
    current: Option<Current>,
    has_started: bool,
    switches: u64,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    slot: u8,
    /// The highest spatial layer, `None` for all there are.
    spatial: Option<u8>,
    reason: LayerReason,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    slot: u8,
    source: SourceId,
    /// The target layer goes on under another source, and its keyframe is still to come.
    is_superseded: bool,
    /// The highest spatial layer, `None` for all there are.
    spatial: Option<u8>,
    /// The number from which that counts, and what counted before: packets of earlier pictures may still come.
    before: Option<(u64, Option<u8>)>,
    is_nested: bool,
    /// Of the packet that is the newest.
    newest: u64,
    timestamp: u32,
    /// A change that the next packet that passes tells of.
    untold: Option<LayerReason>,
}

impl Current {
    /// Whether another limit can be kept to without a keyframe.
    fn can_step_to(&self, spatial: Option<u8>) -> bool {
        match (spatial, self.spatial) {
            (Some(_), None) => true,
            (Some(to), Some(from)) => to <= from && self.is_nested,
            (None, _) => spatial == self.spatial,
        }
    }

    /// The limit that counts for a packet.
    fn limit_at(&self, seq_no: u64) -> Option<u8> {
        match self.before {
            Some((since, before)) if seq_no < since => before,
            _ => self.spatial,
        }
    }
}

impl Selector {
    /// A selector that waits for the first keyframe.
    pub fn new(selection: Selection, ladder: &Ladder) -> Self {
        let mut selector = Self {
            selection,
            ..Self::default()
        };
        selector.retarget(ladder, LayerReason::Published);
        selector
    }

    /// The viewer asks for something else.
    pub fn select(&mut self, selection: Selection, ladder: &Ladder) {
        self.selection = selection;
        self.retarget(ladder, LayerReason::Chosen);
    }

    /// The layers of the track changed: one came, went, fell silent or is back.
    pub fn handle_ladder(&mut self, ladder: &Ladder) {
        self.retarget(ladder, LayerReason::Published);
    }

    /// Judges one packet of the track.
    pub fn judge(&mut self, packet: &Packet) -> Verdict {
        let Some(target) = self.target else {
            return Verdict::Drop;
        };
        let is_current = self
            .current
            .is_some_and(|current| current.source == packet.source);
        if is_current {
            return self.judge_current(packet, target);
        }
        if packet.slot != target.slot {
            return Verdict::Drop;
        }
        if let Some(current) = &mut self.current {
            // What is left of an older source, after the layer went on under a newer one.
            if current.slot == target.slot && packet.source < current.source {
                return Verdict::Drop;
            }
            if current.slot == target.slot {
                current.is_superseded = true;
            }
        }
        if !packet.meta.keyframe {
            return Verdict::Drop;
        }
        let reason = if self.has_started {
            target.reason
        } else {
            LayerReason::Started
        };
        self.has_started = true;
        self.switches += 1;
        self.current = Some(Current {
            slot: packet.slot,
            source: packet.source,
            is_superseded: false,
            spatial: target.spatial,
            before: None,
            is_nested: packet.meta.spatial.is_some_and(|spatial| spatial.is_nested),
            newest: *packet.seq_no,
            timestamp: packet.timestamp,
            untold: None,
        });
        Verdict::Switch(reason)
    }

    /// Judges a packet of what is being received: its spatial layer decides.
    fn judge_current(&mut self, packet: &Packet, target: Target) -> Verdict {
        let Some(current) = &mut self.current else {
            return Verdict::Drop;
        };
        let seq_no = *packet.seq_no;
        // A keyframe whose first packet comes late is no place to step up: frames that it needs were left out already.
        if seq_no > current.newest {
            let starts_picture = packet.timestamp != current.timestamp;
            current.newest = seq_no;
            current.timestamp = packet.timestamp;
            let can_step = packet.meta.keyframe || current.can_step_to(target.spatial);
            let is_due = current.slot == target.slot && current.spatial != target.spatial;
            if starts_picture && is_due && can_step {
                current.before = Some((seq_no, current.spatial));
                current.spatial = target.spatial;
                current.untold = Some(target.reason);
                self.switches += 1;
            }
            if let Some(spatial) = packet.meta.spatial {
                current.is_nested = spatial.is_nested;
            }
        }
        if let (Some(limit), Some(spatial)) = (current.limit_at(seq_no), packet.meta.spatial)
            && !spatial.is_needed_by(limit)
        {
            return Verdict::Skip;
        }
        match current.untold.take() {
            Some(reason) => Verdict::Switch(reason),
            None => Verdict::Forward,
        }
    }

    /// The layer whose keyframe this viewer waits for.
    pub fn wants_keyframe(&self) -> Option<u8> {
        let target = self.target?;
        let goes_on = |current: Current| {
            current.slot == target.slot
                && !current.is_superseded
                && (current.spatial == target.spatial || current.can_step_to(target.spatial))
        };
        match self.current {
            Some(current) if goes_on(current) => None,
            _ => Some(target.slot),
        }
    }

    /// The highest spatial layer that the viewer gets of a packet's picture; `None` when it gets all.
    pub fn limit_at(&self, packet: &Packet) -> Option<u8> {
        self.current?.limit_at(*packet.seq_no)
    }

    /// The highest spatial layer that is being received; `None` for all there are.
    pub fn spatial(&self) -> Option<u8> {
        self.current?.spatial
    }

    /// The layer that is being received.
    pub fn current(&self) -> Option<u8> {
        self.current.map(|current| current.slot)
    }

    /// The layer that should be received.
    pub fn target(&self) -> Option<u8> {
        self.target.map(|target| target.slot)
    }

    /// How often a layer started or changed.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    fn retarget(&mut self, ladder: &Ladder, reason: LayerReason) {
        if self.selection.audio_only {
            // What comes later starts with a keyframe again.
            self.target = None;
            self.current = None;
            return;
        }
        // While no layer is alive (a camera that is off), what was meant stays meant.
        let Some(slot) = ladder.choose(self.selection.quality) else {
            return;
        };
        let spatial = ladder.choose_spatial(self.selection.quality);
        let is_same = |target: Target| (target.slot, target.spatial) == (slot, spatial);
        if !self.target.is_some_and(is_same) {
            self.target = Some(Target {
                slot,
                spatial,
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests;
