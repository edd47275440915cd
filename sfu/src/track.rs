//! A published track: what it is, its layers, and what was measured of them.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::format::{self, CodecSpec};

use crate::egress::Ring;
use crate::event::{Codec, Kind, LayerInfo, TrackInfo};
use crate::forward::keyframe::Requests;
use crate::forward::packet::Packet;
use crate::forward::spatial::SPATIAL_MAX;
use crate::layer::{Facts, LAYERS_MAX, Ladder};

/// A layer is taken for stopped after this long without a packet. Chromium repeats a still screen once a second, Opus
/// sends something every 400 ms in silence; a shorter time takes those for a mute, a longer one freezes viewers of a
/// layer that the publisher gave up for lack of bandwidth.
const STOPPED_AFTER: Duration = Duration::from_millis(1_800);

/// Bitrate and frame rate are measured over at least this long.
const WINDOW: Duration = Duration::from_secs(1);

/// A codec with the parameters that decide whether a viewer can decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) spec: CodecSpec,
}

impl Format {
    /// The format of a payload type; `None` for codecs that are not forwarded.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "str0m knows more codecs than are forwarded"
    )]
    pub(crate) fn new(spec: CodecSpec) -> Option<Self> {
        let codec = match spec.codec {
            format::Codec::Opus => Codec::Opus,
            format::Codec::Vp8 => Codec::Vp8,
            format::Codec::Vp9 => Codec::Vp9,
            format::Codec::H264 => Codec::H264,
            format::Codec::Av1 => Codec::Av1,
            _ => return None,
        };
        Some(Self { codec, spec })
    }
}

/// A track of a stream, in its home shard or as a follower knows it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) number: u16,
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) layers: SmallVec<[Layer; LAYERS_MAX]>,
    pub(crate) ladder: Ladder,
    pub(crate) requests: Requests,
    pub(crate) is_muted: bool,
    /// What viewers in this shard may ask for again, by slot.
    rings: SmallVec<[Ring; 1]>,
}

/// One layer; its place in [`Track::layers`] is its slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) rid: Option<String>,
    pub(crate) dimensions: Option<(u16, u16)>,
    pub(crate) fps: u16,
    pub(crate) bitrate_bps: u64,
    pub(crate) is_alive: bool,
    /// The spatial layers inside of it, lowest first; empty for an encoding without.
    spatial: SmallVec<[Spatial; SPATIAL_MAX]>,
    meter: Meter,
}

/// A spatial layer inside an encoding.
#[derive(Clone, Copy, Debug, Default)]
struct Spatial {
    size: (u16, u16),
    /// Of its own frames and of those below.
    bitrate_bps: u64,
    /// Of its own frames since the window began.
    bytes: u64,
}

/// What arrived since the window began.
#[derive(Clone, Debug, Default)]
struct Meter {
    begun: Option<Instant>,
    last_arrival: Option<Instant>,
    last_timestamp: Option<u32>,
    bytes: u64,
    frames: u32,
}

/// What a look at a track found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Layers came, went or changed places: selectors must hear of it.
    pub(crate) ladder: bool,
    /// Something that is told to the shell changed: mute, codec, size.
    pub(crate) info: bool,
}

impl Track {
    /// A track of which nothing has arrived.
    pub(crate) fn new(
        number: u16,
        kind: Kind,
        format: Format,
        rids: &[String],
        keyframe_interval: Duration,
    ) -> Self {
        let mut layers: SmallVec<[Layer; LAYERS_MAX]> = rids
            .iter()
            .take(LAYERS_MAX)
            .map(|rid| Layer {
                rid: Some(rid.clone()),
                ..Layer::default()
            })
            .collect();
        if layers.is_empty() {
            layers.push(Layer::default());
        }
        let mut track = Self {
            number,
            kind,
            format,
            layers,
            ladder: Ladder::default(),
            requests: Requests::new(keyframe_interval),
            is_muted: true,
            rings: SmallVec::new(),
        };
        track.rebuild_ladder();
        track
    }

    /// Notes a packet that arrived.
    pub(crate) fn handle_packet(&mut self, packet: &Packet) -> Changes {
        let mut changes = Changes::default();
        let Some(layer) = self.layers.get_mut(usize::from(packet.slot)) else {
            return changes;
        };
        layer.meter.count(packet);
        changes.ladder |= layer.note_spatial(packet);
        changes.info |= changes.ladder;
        if !layer.is_alive {
            layer.is_alive = true;
            changes.ladder = true;
        }
        if packet.meta.keyframe {
            self.requests.handle_keyframe(packet.slot);
        }
        if packet.meta.dimensions.is_some() && packet.meta.dimensions != layer.dimensions {
            layer.dimensions = packet.meta.dimensions;
            changes.ladder |= self.layers.len() > 1;
            changes.info = true;
        }
        if self.is_muted {
            self.is_muted = false;
            changes.info = true;
        }
        if changes.ladder {
            self.rebuild_ladder();
        }
        changes
    }

    /// Keeps a packet for viewers who will ask for it again, and tells its position.
    pub(crate) fn keep(&mut self, packet: &Packet) -> Option<u32> {
        let slot = usize::from(packet.slot);
        if slot >= LAYERS_MAX {
            return None;
        }
        if self.rings.len() <= slot {
            self.rings.resize_with(slot + 1, Ring::default);
        }
        Some(self.rings[slot].push(packet.clone()))
    }

    /// A packet that was kept lately.
    pub(crate) fn kept(&self, slot: u8, position: u32) -> Option<&Packet> {
        self.rings.get(usize::from(slot))?.get(position)
    }

    /// Looks at the clock: which layers have stopped, how fast the others are.
    pub(crate) fn handle_tick(&mut self, now: Instant) -> Changes {
        let mut changes = Changes::default();
        for layer in &mut self.layers {
            let stopped = layer
                .meter
                .last_arrival
                .is_none_or(|at| now.saturating_duration_since(at) >= STOPPED_AFTER);
            if layer.is_alive && stopped {
                layer.is_alive = false;
                changes.ladder = true;
            }
            layer.measure(now);
        }
        if changes.ladder {
            self.rebuild_ladder();
        }
        let is_muted = !self.layers.iter().any(|layer| layer.is_alive);
        if is_muted != self.is_muted {
            self.is_muted = is_muted;
            changes.info = true;
        }
        changes
    }

    /// The publisher said that it sends nothing here for now.
    pub(crate) fn mute(&mut self) {
        for layer in &mut self.layers {
            layer.is_alive = false;
        }
        self.is_muted = true;
        self.rebuild_ladder();
    }

    /// What the shell hears of the track; layers lowest first.
    pub(crate) fn info(&self) -> TrackInfo {
        TrackInfo {
            track: self.number,
            kind: self.kind,
            codec: self.format.codec,
            muted: self.is_muted,
            layers: self.layer_infos(),
        }
    }

    /// The layers, lowest first.
    pub(crate) fn layer_infos(&self) -> Vec<LayerInfo> {
        if let [only] = self.layers.as_slice()
            && !only.spatial.is_empty()
        {
            let spatial = 0..only.spatial.len() as u8;
            return spatial.map(|layer| only.info(Some(layer))).collect();
        }
        let rungs = self.ladder.rungs().iter();
        rungs
            .filter_map(|rung| self.layers.get(usize::from(rung.slot)))
            .map(|layer| layer.info(None))
            .collect()
    }

    /// What is known of the layer in a slot, up to a spatial layer inside of it.
    pub(crate) fn layer_info(&self, slot: u8, spatial: Option<u8>) -> LayerInfo {
        self.layers
            .get(usize::from(slot))
            .map(|layer| layer.info(spatial))
            .unwrap_or_default()
    }

    /// The encodings change to something that may have no spatial layers.
    pub(crate) fn forget_spatial(&mut self) {
        for layer in &mut self.layers {
            layer.spatial.clear();
        }
        self.rebuild_ladder();
    }

    /// The slot of a RID, made when there is room for it.
    pub(crate) fn slot_of(&mut self, rid: Option<&str>, layers_max: usize) -> Option<u8> {
        if let Some(slot) = self.layers.iter().position(|l| l.rid.as_deref() == rid) {
            return Some(slot as u8);
        }
        // A publisher without a=simulcast that sends RIDs all the same: the first one is the layer there is.
        if let [only] = self.layers.as_mut_slice()
            && only.rid.is_none()
            && !only.is_alive
        {
            only.rid = rid.map(str::to_owned);
            return Some(0);
        }
        if self.layers.len() >= layers_max.min(LAYERS_MAX) || rid.is_none() {
            return None;
        }
        self.layers.push(Layer {
            rid: rid.map(str::to_owned),
            ..Layer::default()
        });
        self.rebuild_ladder();
        Some((self.layers.len() - 1) as u8)
    }

    pub(crate) fn rebuild_ladder(&mut self) {
        let facts: SmallVec<[Facts<'_>; LAYERS_MAX]> = self
            .layers
            .iter()
            .map(|layer| Facts {
                rid: layer.rid.as_deref(),
                dimensions: layer.dimensions,
                is_alive: layer.is_alive,
                spatial: layer.spatial.len() as u8,
            })
            .collect();
        self.ladder = Ladder::new(&facts);
    }
}

impl Layer {
    /// The layer as it is, or without what is above a spatial layer inside of it.
    fn info(&self, spatial: Option<u8>) -> LayerInfo {
        let highest = self.spatial.last().map(|spatial| spatial.size);
        let whole = self.dimensions.or(highest).unwrap_or_default();
        let spatial = spatial.and_then(|layer| self.spatial.get(usize::from(layer)));
        let (width, height) = spatial.map_or(whole, |spatial| spatial.size);
        LayerInfo {
            rid: self.rid.clone(),
            width,
            height,
            fps: self.fps,
            bitrate_bps: spatial.map_or(self.bitrate_bps, |spatial| spatial.bitrate_bps),
        }
    }

    /// Notes what a packet says of spatial layers; tells whether there are others now.
    fn note_spatial(&mut self, packet: &Packet) -> bool {
        let sizes = match &packet.meta.sizes {
            Some(sizes) => sizes.as_slice(),
            None if packet.meta.keyframe && packet.meta.spatial.is_none() => &[],
            None => {
                let layer = packet.meta.spatial.map(|spatial| spatial.layer);
                if let Some(spatial) = self.spatial.get_mut(usize::from(layer.unwrap_or(0))) {
                    spatial.bytes += packet.payload.len() as u64;
                }
                return false;
            }
        };
        // A single one is the whole.
        let sizes = if sizes.len() > 1 { sizes } else { &[] };
        if self
            .spatial
            .iter()
            .map(|spatial| spatial.size)
            .eq(sizes.iter().copied())
        {
            return false;
        }
        let sized = |&size| Spatial {
            size,
            ..Spatial::default()
        };
        self.spatial = sizes.iter().map(sized).collect();
        true
    }

    fn measure(&mut self, now: Instant) {
        let Some(begun) = self.meter.begun else {
            return;
        };
        let elapsed = now.saturating_duration_since(begun);
        if elapsed < WINDOW {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        self.bitrate_bps = (self.meter.bytes as f64 * 8.0 / seconds).round() as u64;
        let mut bytes = 0;
        for spatial in &mut self.spatial {
            bytes += std::mem::take(&mut spatial.bytes);
            spatial.bitrate_bps = (bytes as f64 * 8.0 / seconds).round() as u64;
        }
        self.fps = (f64::from(self.meter.frames) / seconds).round() as u16;
        self.meter.bytes = 0;
        self.meter.frames = 0;
        self.meter.begun = Some(now);
    }
}

impl Meter {
    fn count(&mut self, packet: &Packet) {
        self.begun.get_or_insert(packet.arrived);
        self.last_arrival = Some(packet.arrived);
        self.bytes += packet.payload.len() as u64;
        if self.last_timestamp != Some(packet.timestamp) {
            self.last_timestamp = Some(packet.timestamp);
            self.frames += 1;
        }
    }
}
