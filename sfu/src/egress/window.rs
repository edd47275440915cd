//! Hot path. Which of the last numbers of a sequence were used.
//!
//! A bit for each number, in a ring: going on by one clears one bit and sets one.

/// The last `64 * WORDS` numbers below the highest one.
#[derive(Clone, Debug)]
pub(crate) struct Window<const WORDS: usize> {
    /// The number after the highest one.
    next: u64,
    bits: [u64; WORDS],
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Self {
            next: 0,
            bits: [0; WORDS],
        }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    const BITS: u64 = WORDS as u64 * 64;

    /// Marks a number as used. False when it was, or is too far behind to know.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number - self.next >= Self::BITS {
                self.bits = [0; WORDS];
            } else {
                for passed in self.next..number {
                    self.bits[Self::word(passed)] &= !Self::bit(passed);
                }
            }
            self.next = number + 1;
        } else {
            let is_known = self.next - number <= Self::BITS;
            if !is_known || self.bits[Self::word(number)] & Self::bit(number) != 0 {
                return false;
            }
        }
        self.bits[Self::word(number)] |= Self::bit(number);
        true
    }

    fn word(number: u64) -> usize {
        (number / 64) as usize % WORDS
    }

    fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_number_is_taken_once_and_old_ones_never() {
        let mut window = Window::<2>::default();
        assert!(window.insert(1_000));
        assert!(!window.insert(1_000));
        assert!(window.insert(873), "127 behind");
        assert!(!window.insert(872), "128 behind");
        assert!(window.insert(1_001));
        assert!(!window.insert(873));
        assert!(window.insert(5_000));
        assert!(window.insert(4_999));
        assert!(!window.insert(1_001));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_agrees_with_a_set(steps in prop::collection::vec(0u64..300, 1..400)) {
            let mut window = Window::<2>::default();
            let mut used = HashSet::new();
            let mut highest = 0u64;
            for step in steps {
                // Mostly forward, at times far back.
                let number = (highest + step % 7).saturating_sub(step);
                let number = if step % 3 == 0 { highest + step } else { number };
                let is_known = highest < 128 || number > highest - 128;
                let expected = (number > highest || is_known) && !used.contains(&number);
                prop_assert_eq!(window.insert(number), expected, "{}", number);
                used.insert(number);
                highest = highest.max(number);
            }
        }
    }
}
