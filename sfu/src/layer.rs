//! The layers of a track: which RID is which, in what order, and which one a viewer's choice means.
//!
//! A layer has a **slot**, the number it got when the track was negotiated, which never changes and which packets carry.
//! Where it stands in the order of quality is its **rung**, and that may change as pictures are measured.

use smallvec::SmallVec;

use crate::event::Quality;

/// Layers of one track. Browsers send up to three; one more leaves room for other senders.
pub const LAYERS_MAX: usize = 4;

/// What is known of a layer when layers are put in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// RID, `None` without simulcast.
    pub rid: Option<&'a str>,
    /// Width and height of its last keyframe.
    pub dimensions: Option<(u16, u16)>,
    /// Whether packets arrive on it.
    pub is_alive: bool,
    /// How many spatial layers it has inside, 0 for an encoding without.
    pub spatial: u8,
}

/// The layers of a track, lowest quality first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    rungs: SmallVec<[Rung; LAYERS_MAX]>,
}

/// One layer in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Position of the layer in what [`Ladder::new`] was given.
    pub slot: u8,
    /// Whether packets arrive on it.
    pub is_alive: bool,
    /// How many spatial layers it has inside.
    pub spatial: u8,
}

impl Ladder {
    /// Puts layers in order; their slots are their positions in `layers`, and what exceeds [`LAYERS_MAX`] is left out.
    ///
    /// The RIDs say an order by the names that are in use (`q h f`, `l m h`, `low mid high`, numbers), or else by their
    /// position. Layers whose pictures were measured change places among themselves until larger ones stand higher.
    pub fn new(layers: &[Facts<'_>]) -> Self {
        let layers = &layers[..layers.len().min(LAYERS_MAX)];
        let mut order: SmallVec<[usize; LAYERS_MAX]> = (0..layers.len()).collect();
        if let Some(ranks) = ranks(layers) {
            order.sort_by_key(|&slot| ranks[slot]);
        }

        let area = |slot: usize| {
            let (width, height) = layers[slot].dimensions?;
            Some(u32::from(width) * u32::from(height))
        };
        let places: SmallVec<[usize; LAYERS_MAX]> = (0..order.len())
            .filter(|&place| area(order[place]).is_some())
            .collect();
        let mut measured: SmallVec<[usize; LAYERS_MAX]> =
            places.iter().map(|&place| order[place]).collect();
        measured.sort_by_key(|&slot| area(slot));
        for (&place, &slot) in places.iter().zip(&measured) {
            order[place] = slot;
        }

        let rungs = order
            .into_iter()
            .map(|slot| Rung {
                slot: slot as u8,
                is_alive: layers[slot].is_alive,
                spatial: layers[slot].spatial,
            })
            .collect();
        Self { rungs }
    }

    /// The layers, lowest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// The slot of the layer that serves a choice: the one it names when that is alive, else the nearest that is, the
    /// lower of two equally near. `None` when none is alive.
    pub fn choose(&self, quality: Quality) -> Option<u8> {
        let top = self.rungs.len().checked_sub(1)?;
        let wanted = wanted(quality, top);
        self.rungs
            .iter()
            .enumerate()
            .filter(|(_, rung)| rung.is_alive)
            .min_by_key(|&(place, _)| place.abs_diff(wanted))
            .map(|(_, rung)| rung.slot)
    }

    /// The highest spatial layer that serves a choice; `None` for all there are. Where the publisher sends several
    /// encodings, those are what is chosen from, and whatever is inside of one comes along.
    pub fn choose_spatial(&self, quality: Quality) -> Option<u8> {
        let [only] = self.rungs.as_slice() else {
            return None;
        };
        let top = usize::from(only.spatial).checked_sub(1)?;
        let wanted = wanted(quality, top);
        (wanted < top).then_some(wanted as u8)
    }
}

fn wanted(quality: Quality, top: usize) -> usize {
    match quality {
        Quality::Auto | Quality::High => top,
        Quality::Medium => top / 2,
        Quality::Low => 0,
    }
}

/// The rank each RID's name gives it, when all names of the set are known.
fn ranks(layers: &[Facts<'_>]) -> Option<SmallVec<[u32; LAYERS_MAX]>> {
    // In `q h f` an h is half of f, in `l m h` it is the highest.
    let h_is_high = layers.iter().any(|layer| {
        layer
            .rid
            .is_some_and(|rid| matches!(rid, "l" | "m" | "L" | "M"))
    });
    layers
        .iter()
        .map(|layer| rank(layer.rid?, h_is_high))
        .collect()
}

fn rank(rid: &str, h_is_high: bool) -> Option<u32> {
    let digits = rid.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    if !digits.is_empty() {
        return digits.parse().ok();
    }
    match rid.to_ascii_lowercase().as_str() {
        "q" | "l" | "lo" | "low" | "quarter" | "small" => Some(0),
        "h" if h_is_high => Some(2),
        "h" | "half" | "m" | "mi" | "mid" | "med" | "medium" => Some(1),
        "f" | "hi" | "high" | "full" | "large" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(layers: &[(&'static str, bool)]) -> Ladder {
        let facts: Vec<Facts<'_>> = layers
            .iter()
            .map(|&(rid, is_alive)| Facts {
                rid: Some(rid),
                is_alive,
                ..Facts::default()
            })
            .collect();
        Ladder::new(&facts)
    }

    fn order(layers: &[(&'static str, Option<(u16, u16)>)]) -> Vec<&'static str> {
        let facts: Vec<Facts<'_>> = layers
            .iter()
            .map(|&(rid, dimensions)| Facts {
                rid: Some(rid),
                dimensions,
                is_alive: true,
                spatial: 0,
            })
            .collect();
        let ladder = Ladder::new(&facts);
        let rungs = ladder.rungs().iter();
        rungs.map(|rung| layers[usize::from(rung.slot)].0).collect()
    }

    fn by_name(rids: [&'static str; 3]) -> Vec<&'static str> {
        order(&rids.map(|rid| (rid, None)))
    }

    #[test]
    fn names_in_use_say_the_order() {
        assert_eq!(by_name(["f", "h", "q"]), ["q", "h", "f"]);
        assert_eq!(by_name(["h", "m", "l"]), ["l", "m", "h"]);
        assert_eq!(by_name(["high", "low", "mid"]), ["low", "mid", "high"]);
        assert_eq!(by_name(["2", "0", "1"]), ["0", "1", "2"]);
        assert_eq!(by_name(["r2", "r0", "r1"]), ["r0", "r1", "r2"]);
    }

    #[test]
    fn unknown_names_keep_the_order_they_were_negotiated_in() {
        assert_eq!(by_name(["tom", "ann", "eve"]), ["tom", "ann", "eve"]);
        assert_eq!(by_name(["tom", "q", "f"]), ["tom", "q", "f"]);
    }

    #[test]
    fn measured_pictures_correct_the_order() {
        let small = Some((320, 180));
        let middle = Some((640, 360));
        let large = Some((1280, 720));
        let layers = [("0", large), ("1", middle), ("2", small)];
        assert_eq!(order(&layers), ["2", "1", "0"]);
        // The unmeasured one keeps its place, the other two change theirs.
        let layers = [("0", large), ("1", None), ("2", small)];
        assert_eq!(order(&layers), ["2", "1", "0"]);
        // Equal sizes say nothing.
        let layers = [("f", middle), ("q", middle), ("h", middle)];
        assert_eq!(order(&layers), ["q", "h", "f"]);
    }

    #[test]
    fn a_choice_is_served_by_the_nearest_living_layer() {
        let ladder =
            |alive: [bool; 3]| ladder(&[("q", alive[0]), ("h", alive[1]), ("f", alive[2])]);
        let all = ladder([true, true, true]);
        assert_eq!(all.choose(Quality::Auto), Some(2));
        assert_eq!(all.choose(Quality::High), Some(2));
        assert_eq!(all.choose(Quality::Medium), Some(1));
        assert_eq!(all.choose(Quality::Low), Some(0));
        let no_top = ladder([true, true, false]);
        assert_eq!(no_top.choose(Quality::Auto), Some(1));
        assert_eq!(no_top.choose(Quality::Medium), Some(1));
        let no_middle = ladder([true, false, true]);
        assert_eq!(no_middle.choose(Quality::Medium), Some(0));
        let only_top = ladder([false, false, true]);
        assert_eq!(only_top.choose(Quality::Low), Some(2));
        assert_eq!(ladder([false; 3]).choose(Quality::Auto), None);
    }

    #[test]
    fn of_two_layers_the_lower_is_medium() {
        let two = ladder(&[("h", true), ("f", true)]);
        assert_eq!(two.choose(Quality::Medium), Some(0));
        assert_eq!(two.choose(Quality::High), Some(1));
    }

    #[test]
    fn one_layer_without_a_rid_serves_every_choice() {
        let one = Ladder::new(&[Facts {
            is_alive: true,
            ..Facts::default()
        }]);
        for quality in [Quality::Auto, Quality::High, Quality::Medium, Quality::Low] {
            assert_eq!(one.choose(quality), Some(0));
        }
        assert_eq!(Ladder::new(&[]).choose(Quality::Auto), None);
    }

    #[test]
    fn spatial_layers_are_chosen_where_there_is_one_encoding() {
        let inside = |spatial| Facts {
            is_alive: true,
            spatial,
            ..Facts::default()
        };
        let limits = |layers: &[Facts<'_>]| {
            let ladder = Ladder::new(layers);
            [Quality::High, Quality::Medium, Quality::Low].map(|q| ladder.choose_spatial(q))
        };
        assert_eq!(limits(&[inside(3)]), [None, Some(1), Some(0)]);
        assert_eq!(limits(&[inside(2)]), [None, Some(0), Some(0)]);
        assert_eq!(limits(&[inside(1)]), [None; 3]);
        assert_eq!(limits(&[inside(0)]), [None; 3]);
        assert_eq!(limits(&[inside(3), inside(3)]), [None; 3]);
    }

    #[test]
    fn layers_beyond_the_limit_are_left_out() {
        let facts = [Facts::default(); LAYERS_MAX + 3];
        assert_eq!(Ladder::new(&facts).rungs().len(), LAYERS_MAX);
    }
}
