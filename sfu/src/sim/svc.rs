//! Spatial layers inside one encoding: how a publisher writes them, and a judge of what a viewer can decode.
//!
//! The layers depend on each other as those of browsers do. In the full mode every frame is predicted from the layer
//! below and from the picture before; in the `_KEY` mode from the layer below in keyframes only.

use super::media::{Frame, Received, Tag, Viewing};
use crate::forward::dependency::Descriptor;

/// First template number: any will do, and one that is not 0 shows who forgets it.
const TEMPLATE_OFFSET: u32 = 5;

/// How the spatial layers of an encoding are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layering {
    /// How many there are.
    pub layers: u8,
    /// Layers depend on each other in keyframes only.
    pub is_keyed: bool,
}

impl Layering {
    /// The sizes of the layers, each twice that of the next lower one.
    pub fn sizes(self) -> Vec<(u16, u16)> {
        (0..self.layers)
            .map(|layer| (320 << layer, 180 << layer))
            .collect()
    }

    /// Whether a frame of a layer belongs to what a viewer of `target` gets.
    fn is_present(self, layer: u8, keyframe: bool, target: u8) -> bool {
        if self.is_keyed && !keyframe {
            layer == target
        } else {
            layer <= target
        }
    }

    /// The dependency descriptor of one packet.
    pub(super) fn descriptor(self, tag: Tag) -> Descriptor {
        let mut bits = Writer::default();
        let template = 2 * u32::from(tag.layer) + u32::from(tag.keyframe);
        bits.put(1, u32::from(tag.part == 0));
        bits.put(1, u32::from(tag.part + 1 == tag.parts));
        bits.put(6, (TEMPLATE_OFFSET + template) % 64);
        let number = tag.frame * u32::from(self.layers) + u32::from(tag.layer);
        bits.put(16, number & 0xffff);
        if tag.keyframe && tag.part == 0 && tag.layer == 0 {
            bits.put(5, 0b10000);
            self.put_structure(&mut bits);
        }
        Descriptor::new(&bits.bytes()).expect("neither too short nor too long")
    }

    /// Two templates for each layer, one for all pictures and one for keyframes.
    fn put_structure(self, bits: &mut Writer) {
        let layers = u32::from(self.layers);
        let templates = || (0..self.layers).flat_map(|layer| [(layer, false), (layer, true)]);
        bits.put(6, TEMPLATE_OFFSET);
        bits.put(5, layers - 1);
        for (layer, keyframe) in templates() {
            let next = match (keyframe, layer + 1 == self.layers) {
                (false, _) => 0,
                (true, false) => 2,
                (true, true) => 3,
            };
            bits.put(2, next);
        }
        for (layer, keyframe) in templates() {
            for target in 0..self.layers {
                let is_present = self.is_present(layer, keyframe, target);
                bits.put(2, if is_present { 2 } else { 0 });
            }
        }
        for (layer, keyframe) in templates() {
            if !keyframe {
                bits.put(5, 0b10000 | (layers - 1));
            }
            if layer > 0 && (keyframe || !self.is_keyed) {
                bits.put(5, 0b10000);
            }
            bits.put(1, 0);
        }
        bits.put_below(layers + 1, layers);
        (0..layers).for_each(|chain| bits.put_below(layers, chain));
        (0..2 * layers * layers).for_each(|_| bits.put(4, 1));
        bits.put(1, 1);
        for (width, height) in self.sizes() {
            bits.put(16, u32::from(width) - 1);
            bits.put(16, u32::from(height) - 1);
        }
    }
}

/// Writes most significant bit first.
#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn put(&mut self, count: u32, value: u32) {
        let places = (0..count).rev();
        self.0.extend(places.map(|place| value >> place & 1 != 0));
    }

    /// `ns(n)` of AV1 (section 4.10.7).
    fn put_below(&mut self, bound: u32, value: u32) {
        let width = bound.ilog2() + 1;
        let short = (1 << width) - bound;
        if value < short {
            self.put(width - 1, value);
        } else {
            self.put(width, value + short);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes = self.0.chunks(8);
        bytes
            .map(|byte| {
                let set = byte.iter().zip((0..8).rev());
                set.fold(0, |sum, (&bit, place)| sum | u8::from(bit) << place)
            })
            .collect()
    }
}

/// Decodes pictures of spatial layers: each shows its highest layer that can be decoded. A picture is broken when
/// something of it arrived that cannot be decoded, or when its end is not where its marker is.
pub(super) fn judge(packets: &[&Received], viewing: &mut Viewing) {
    let mut decoded: Vec<Option<u32>> = Vec::new();
    for picture in packets.chunk_by(|a, b| a.timestamp == b.timestamp) {
        let shown = decode(picture, &mut decoded);
        let marked = picture.iter().filter(|packet| packet.marker).count();
        let is_ended = marked == 1 && picture.last().is_some_and(|packet| packet.marker);
        let Some(tag) = shown.filter(|_| is_ended) else {
            viewing.broken += 1;
            continue;
        };
        let complete_at = picture.iter().map(|packet| packet.at).max();
        let shown_before = viewing.frames.last().map(|last| last.at);
        viewing.frames.push(Frame {
            at: complete_at.max(shown_before).unwrap_or(picture[0].at),
            layer: tag.layer,
            publisher: tag.publisher,
            number: tag.frame,
            keyframe: tag.keyframe,
            timestamp: picture[0].timestamp,
        });
    }
}

/// The highest frame of a picture; `None` when any frame cannot be decoded.
fn decode(picture: &[&Received], decoded: &mut Vec<Option<u32>>) -> Option<Tag> {
    let mut below = None;
    for frame in picture.chunk_by(|a, b| a.tag.map(|t| t.layer) == b.tag.map(|t| t.layer)) {
        let tag = frame[0].tag?;
        let layer = usize::from(tag.layer);
        decoded.resize(decoded.len().max(layer + 1), None);
        let parts = frame.iter().filter_map(|packet| packet.tag);
        let is_complete = frame.len() == usize::from(tag.parts)
            && parts
                .enumerate()
                .all(|(part, tag)| usize::from(tag.part) == part);
        let has_below = !tag.needs_below || below == Some(tag.layer.wrapping_sub(1));
        let has_before = tag.is_fresh || decoded[layer] == tag.frame.checked_sub(1);
        if !is_complete || !has_below || !has_before {
            decoded[layer] = None;
            return None;
        }
        decoded[layer] = Some(tag.frame);
        below = Some(tag.layer);
    }
    picture.last()?.tag
}
