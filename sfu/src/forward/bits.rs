//! A reader of single bits, as headers of VP9, H264, AV1 and dependency descriptors need it. Past the end it gives `None`.

/// Reads most significant bit first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bits were read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// Reads `count` bits, at most 32.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.bit()?;
        }
        Some(())
    }

    /// A number below `bound`, at least 1, in as few bits as it takes: `ns(n)` of AV1 (section 4.10.7).
    pub(super) fn below(&mut self, bound: u32) -> Option<u32> {
        let width = bound.checked_ilog2()? + 1;
        let short = (1 << width) - bound;
        let value = self.read(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }

    /// Unsigned Exp-Golomb (H.264 section 9.1), which AV1 calls `uvlc` (section 4.10.3).
    pub(super) fn unsigned_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.read(zeros)?;
        Some((1u32 << zeros) - 1 + suffix)
    }

    /// Signed Exp-Golomb (H.264 section 9.1.1).
    pub(super) fn signed_golomb(&mut self) -> Option<i32> {
        let code = self.unsigned_golomb()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_codes_follow_the_table_of_the_standard() {
        // 1 | 010 | 011 | 00100 | 00101
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        for expected in 0..5 {
            assert_eq!(bits.unsigned_golomb(), Some(expected));
        }
        let mut bits = Bits::new(&bytes);
        for expected in [0, 1, -1, 2, -2] {
            assert_eq!(bits.signed_golomb(), Some(expected));
        }
    }

    #[test]
    fn numbers_below_a_bound_follow_the_table_of_the_standard() {
        // Below 5: 00 | 01 | 10 | 110 | 111
        let bytes = [0b0001_1011, 0b0111_0000];
        let mut bits = Bits::new(&bytes);
        for expected in 0..5 {
            assert_eq!(bits.below(5), Some(expected));
        }
        assert_eq!(bits.position(), 12);
        assert_eq!(Bits::new(&[]).below(1), Some(0), "takes no bits");
        assert_eq!(Bits::new(&[0xff]).below(0), None);
    }

    #[test]
    fn the_end_is_told_not_passed() {
        assert_eq!(Bits::new(&[0xff]).read(9), None);
        assert_eq!(Bits::new(&[0; 8]).unsigned_golomb(), None);
    }
}
