//! Keyframe requests (PLI) of many viewers as few requests to the publisher.
//!
//! ```text
//! viewers   A B C      D            E
//! publisher P----------|--P--- K    |--P      at most one P per interval; K answers all that waited
//! ```
//!
//! A keyframe is several times as large as another frame, so viewers who each got one would ruin the picture for
//! everybody. The first request of a layer goes out at once. Further ones within the interval wait for its end, and are
//! forgotten when a keyframe arrives before it. While somebody waits and none comes, the request is repeated.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::layer::LAYERS_MAX;

/// The requests for one track. Slots are those of its [`crate::layer::Ladder`].
#[derive(Debug)]
pub struct Requests {
    interval: Duration,
    layers: SmallVec<[Layer; LAYERS_MAX]>,
    coalesced: u64,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    slot: u8,
    sent_at: Option<Instant>,
    is_waiting: bool,
}

impl Requests {
    /// Requests at most one keyframe per layer and `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            layers: SmallVec::new(),
            coalesced: 0,
        }
    }

    /// Somebody needs a keyframe of a layer. True when the publisher must be asked now; otherwise it was asked a
    /// moment ago, and is asked again when the interval ends without one.
    #[must_use = "the publisher must be asked when this is true"]
    pub fn request(&mut self, now: Instant, slot: u8) -> bool {
        let interval = self.interval;
        let layer = self.layer(slot);
        layer.is_waiting = true;
        let is_due = layer
            .sent_at
            .is_none_or(|sent_at| now >= sent_at + interval);
        if is_due {
            layer.sent_at = Some(now);
        } else {
            self.coalesced += 1;
        }
        is_due
    }

    /// A keyframe of a layer arrived: it answers everybody who waited.
    pub fn handle_keyframe(&mut self, slot: u8) {
        self.layer(slot).is_waiting = false;
    }

    /// Nobody waits for a layer any more, or it sends nothing that could be asked for.
    pub fn cancel(&mut self, slot: u8) {
        self.layer(slot).is_waiting = false;
    }

    /// The layer whose request must be sent (again) now; call until `None`.
    #[must_use = "the publisher must be asked for this layer"]
    pub fn poll(&mut self, now: Instant) -> Option<u8> {
        let interval = self.interval;
        let layer = self
            .layers
            .iter_mut()
            .find(|layer| layer.due(interval).is_some_and(|due| now >= due))?;
        layer.sent_at = Some(now);
        Some(layer.slot)
    }

    /// When [`Requests::poll`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.layers
            .iter()
            .filter_map(|layer| layer.due(self.interval))
            .min()
    }

    /// Requests that were answered by one already on its way.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Finds a layer or makes room for it. The number of slots is bounded by the ladder's.
    fn layer(&mut self, slot: u8) -> &mut Layer {
        let index = match self.layers.iter().position(|layer| layer.slot == slot) {
            Some(index) => index,
            None => {
                self.layers.push(Layer {
                    slot,
                    sent_at: None,
                    is_waiting: false,
                });
                self.layers.len() - 1
            }
        };
        &mut self.layers[index]
    }
}

impl Layer {
    fn due(&self, interval: Duration) -> Option<Instant> {
        if !self.is_waiting {
            return None;
        }
        self.sent_at.map(|sent_at| sent_at + interval)
    }
}
