//! Hot path. What a dependency descriptor says of its frame's place among the layers (AV1 RTP payload format, appendix
//! A.8).
//!
//! A keyframe brings a template structure: the *decode targets* there are, and *templates* that say for each of them
//! whether a frame belongs to it. Every later descriptor names a template. A viewer of a spatial layer gets the frames of
//! that layer's decode target with all temporal layers.
//!
//! Everything here reads bytes that a stranger wrote. What cannot be read has no place, and is forwarded to everybody.

use smallvec::SmallVec;

use super::Mandatory;
use crate::forward::bits::Bits;
use crate::forward::spatial::{SPATIAL_MAX, Sizes, Spatial, Targets};

/// What the number of a template holds.
const TEMPLATES_MAX: usize = 64;
/// Bits of the fixed part.
const MANDATORY_BITS: u32 = 24;
/// Flags that say which parts follow the fixed one.
const FLAG_BITS: u32 = 5;

/// Reads the descriptors of one source, in the order they arrive.
#[derive(Debug, Default)]
pub struct Reader {
    structure: Option<Structure>,
    /// The decode targets that the publisher sends, as it last said.
    active: u32,
}

/// What a descriptor says.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The packet's place among the layers.
    pub spatial: Spatial,
    /// The layers there are, when the descriptor brings a structure.
    pub sizes: Option<Sizes>,
}

#[derive(Debug)]
struct Structure {
    template_offset: u8,
    templates: SmallVec<[Template; 16]>,
    /// How many decode targets there are.
    targets: u8,
    /// By spatial layer: its decode target with all temporal layers.
    chosen: [u8; SPATIAL_MAX],
    /// By spatial layer: all decode targets up to it.
    masks: [u32; SPATIAL_MAX],
    sizes: Sizes,
    is_nested: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Bit `n`: a frame like this belongs to decode target `n`.
    present: u32,
}

impl Reader {
    /// Reads a descriptor; `None` for one that cannot be read, be it because its structure was lost.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Frame> {
        let fields = Mandatory::parse(bytes)?;
        let mut bits = Bits::new(bytes);
        bits.skip(2)?;
        let template_id = bits.read(6)? as u8;
        bits.skip(16)?;
        let is_extended = bytes.len() * 8 > MANDATORY_BITS as usize;
        let mut sizes = None;
        let (mut has_mask, mut has_own_targets) = (false, false);
        if is_extended {
            let has_structure = bits.bit()?;
            has_mask = bits.bit()?;
            has_own_targets = bits.bit()?;
            bits.skip(2)?; // own frame distances, own chains
            if has_structure {
                self.structure = None;
                let structure = Structure::read(&mut bits)?;
                self.active = mask_of(structure.targets);
                sizes = Some(structure.sizes);
                self.structure = Some(structure);
            }
        }
        let structure = self.structure.as_ref()?;
        let at = if is_extended {
            bits.position()
        } else {
            (MANDATORY_BITS + FLAG_BITS) as usize
        };
        if has_mask {
            self.active = bits.read(structure.targets.into())?;
        }
        let index = (template_id + 64 - structure.template_offset) % 64;
        let mut template = *structure.templates.get(usize::from(index))?;
        if has_own_targets {
            template.present = read_present(&mut bits, structure.targets)?;
        }
        Some(Frame {
            spatial: Spatial {
                layer: template.spatial,
                needed_by: structure.needed_by(template.present),
                ends_frame: fields.ends_frame,
                is_nested: structure.is_nested,
                targets: Some(Targets {
                    at: u16::try_from(at).ok()?,
                    width: structure.targets,
                    is_present: has_mask,
                    masks: structure.masks.map(|mask| mask & self.active),
                }),
            },
            sizes,
        })
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let template_offset = bits.read(6)? as u8;
        let targets = bits.read(5)? as u8 + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.present = read_present(bits, targets)?;
        }
        for _ in &templates {
            // Distances to the frames that it depends on.
            while bits.bit()? {
                bits.skip(4)?;
            }
        }
        let chains = bits.below(u32::from(targets) + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.below(chains)?; // the chain that protects it
            }
            bits.skip(4 * chains * templates.len() as u32)?;
        }
        let highest = templates.last()?.spatial;
        let has_sizes = bits.bit()?;
        let mut sizes = Sizes::default();
        for _ in 0..=highest {
            let mut size = (0, 0);
            if has_sizes {
                let (width, height) = (bits.read(16)? + 1, bits.read(16)? + 1);
                size = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
            }
            sizes.push(size);
        }
        let mut structure = Self {
            template_offset,
            templates,
            targets,
            chosen: [0; SPATIAL_MAX],
            masks: [0; SPATIAL_MAX],
            sizes,
            is_nested: false,
        };
        structure.place_targets();
        Some(structure)
    }

    /// Finds each layer's decode target. A target belongs to the highest layers of any frame that belongs to it.
    fn place_targets(&mut self) {
        let mut best: [Option<(u8, u8)>; SPATIAL_MAX] = [None; SPATIAL_MAX];
        for target in 0..self.targets {
            let members = self.templates.iter();
            let (spatial, temporal) = members
                .filter(|template| template.present >> target & 1 != 0)
                .fold((0, 0), |(spatial, temporal), template| {
                    (
                        spatial.max(template.spatial),
                        temporal.max(template.temporal),
                    )
                });
            for layer in usize::from(spatial)..SPATIAL_MAX {
                self.masks[layer] |= 1 << target;
                if best[layer].is_none_or(|best| best < (spatial, temporal)) {
                    best[layer] = Some((spatial, temporal));
                    self.chosen[layer] = target;
                }
            }
        }
        self.is_nested = self.templates.iter().all(|template| {
            let needed_by = self.needed_by(template.present);
            (1..self.sizes.as_slice().len())
                .all(|layer| needed_by >> (layer - 1) & 1 <= needed_by >> layer & 1)
        });
    }

    fn needed_by(&self, present: u32) -> u8 {
        let layers = self.chosen.iter().enumerate();
        layers.fold(0, |needed_by, (layer, target)| {
            needed_by | ((present >> target & 1) as u8) << layer
        })
    }
}

/// The layers of each template, which come in order: the next one is of the same layers (0), one temporal layer higher
/// (1), one spatial layer higher (2), or there is none (3).
fn read_layers(bits: &mut Bits<'_>) -> Option<SmallVec<[Template; 16]>> {
    let mut templates = SmallVec::new();
    let mut next = Template::default();
    loop {
        templates.push(next);
        match bits.read(2)? {
            0 => {}
            1 => next.temporal += 1,
            2 => {
                next.temporal = 0;
                next.spatial += 1;
            }
            _ => return Some(templates),
        }
        if templates.len() == TEMPLATES_MAX || usize::from(next.spatial) == SPATIAL_MAX {
            return None;
        }
    }
}

/// One indication for each decode target: not present (0), discardable, switch or required.
fn read_present(bits: &mut Bits<'_>, targets: u8) -> Option<u32> {
    let mut present = 0;
    for target in 0..targets {
        present |= u32::from(bits.read(2)? != 0) << target;
    }
    Some(present)
}

fn mask_of(targets: u8) -> u32 {
    u32::MAX >> (32 - u32::from(targets))
}

#[cfg(test)]
mod tests;
