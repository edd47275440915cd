//! Hot path. Which layer of a video track a viewer receives, and when it changes.
//!
//! A decoder can change layers only at a keyframe, so a viewer goes on with its current layer until the first packet of
//! a keyframe of the layer it should have. Until that comes, somebody must ask the publisher for it: that is what
//! [`Selector::wants_keyframe`] tells.

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
    /// It is not for this viewer, or not yet.
    Drop,
}

/// Chooses for one video subscription.
#[derive(Debug, Default)]
pub struct Selector {
    selection: Selection,
    /// The layer that should be received, and why; `None` while nothing should.
    target: Option<(u8, LayerReason)>,
    current: Option<Current>,
    has_started: bool,
    switches: u64,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    slot: u8,
    source: SourceId,
    /// The target layer goes on under another source, and its keyframe is still to come.
    is_superseded: bool,
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
        let Some((target, reason)) = self.target else {
            return Verdict::Drop;
        };
        let is_current = self
            .current
            .is_some_and(|current| current.source == packet.source);
        if is_current {
            return Verdict::Forward;
        }
        if packet.slot != target {
            return Verdict::Drop;
        }
        if let Some(current) = &mut self.current {
            // What is left of an older source, after the layer went on under a newer one.
            if current.slot == target && packet.source < current.source {
                return Verdict::Drop;
            }
            if current.slot == target {
                current.is_superseded = true;
            }
        }
        if !packet.meta.keyframe {
            return Verdict::Drop;
        }
        let reason = if self.has_started {
            reason
        } else {
            LayerReason::Started
        };
        self.has_started = true;
        self.switches += 1;
        self.current = Some(Current {
            slot: packet.slot,
            source: packet.source,
            is_superseded: false,
        });
        Verdict::Switch(reason)
    }

    /// The layer whose keyframe this viewer waits for.
    pub fn wants_keyframe(&self) -> Option<u8> {
        let (target, _) = self.target?;
        match self.current {
            Some(current) if current.slot == target && !current.is_superseded => None,
            _ => Some(target),
        }
    }

    /// The layer that is being received.
    pub fn current(&self) -> Option<u8> {
        self.current.map(|current| current.slot)
    }

    /// The layer that should be received.
    pub fn target(&self) -> Option<u8> {
        self.target.map(|(slot, _)| slot)
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
        if self.target() != Some(slot) {
            self.target = Some((slot, reason));
        }
    }
}

#[cfg(test)]
mod tests;
