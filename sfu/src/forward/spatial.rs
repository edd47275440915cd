//! Hot path. Spatial layers inside one encoding (SVC): which of them a packet is for.
//!
//! A picture of such an encoding is a frame per spatial layer, lowest first, with one RTP timestamp:
//!
//! ```text
//! layer 2         [S2]           [S2]         a viewer of layer 1 gets S0 and S1, and S1 ends its pictures:
//! layer 1     [S1]           [S1]             its last packet carries the marker
//! layer 0 [S0]           [S0]
//!         -- picture --  -- picture --
//! ```

/// Spatial layers of one encoding that can be chosen; codecs and browsers know up to three.
pub const SPATIAL_MAX: usize = 4;

/// Width and height of each spatial layer, lowest first; zeros where the publisher does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    sizes: [(u16, u16); SPATIAL_MAX],
    count: u8,
}

impl Sizes {
    /// Adds the next higher layer; those beyond [`SPATIAL_MAX`] are left out.
    pub fn push(&mut self, size: (u16, u16)) {
        if let Some(place) = self.sizes.get_mut(usize::from(self.count)) {
            *place = size;
            self.count += 1;
        }
    }

    /// The size of the highest layer whose size is told.
    pub fn largest(&self) -> Option<(u16, u16)> {
        let mut told = self.as_slice().iter().rev();
        told.find(|(width, height)| *width > 0 && *height > 0)
            .copied()
    }

    /// The layers there are.
    pub fn as_slice(&self) -> &[(u16, u16)] {
        &self.sizes[..usize::from(self.count)]
    }
}

/// Where a packet stands among the spatial layers of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spatial {
    /// The layer of its frame.
    pub layer: u8,
    /// Bit `n`: it is needed by a viewer whose highest layer is `n`.
    pub needed_by: u8,
    /// Last packet of its frame.
    pub ends_frame: bool,
    /// What a layer needs is needed by every layer above as well, so that a viewer can step down at any picture.
    pub is_nested: bool,
    /// How the dependency descriptor says that layers are left out; `None` for a packet without one.
    pub targets: Option<Targets>,
}

impl Spatial {
    /// Whether a viewer of nothing above `layer` needs the packet.
    pub fn is_needed_by(&self, layer: u8) -> bool {
        self.needed_by >> layer & 1 != 0
    }

    /// Whether a picture ends with this packet for a viewer of nothing above `layer`.
    pub fn ends_picture_of(&self, layer: u8) -> bool {
        self.ends_frame && self.layer == layer
    }
}

/// The active decode targets of a dependency descriptor: where they stand in it, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The bit at which the bitmask stands, or would stand.
    pub at: u16,
    /// Bits of the bitmask, one for each decode target.
    pub width: u8,
    /// Whether the descriptor has one.
    pub is_present: bool,
    /// By highest layer: the decode targets that remain.
    pub masks: [u32; SPATIAL_MAX],
}
