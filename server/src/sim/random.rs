//! Pseudorandom numbers that are the same for the same seed in every version of this program.

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). It is
/// implemented here in ten lines because an update of a crate could change the numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

/// The constant of the algorithm, derived from the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// The unit of a [`Share`](super::spec::Share).
const MILLION: u64 = 1_000_000;

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// Returns a number below `bound`; 0 if the bound is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> u64::BITS).unwrap_or(0)
    }

    /// Returns a number from 1 to `bound`, uniformly distributed.
    pub(super) fn one_to(&mut self, bound: u32) -> u32 {
        let below = u64::from(bound).saturating_mul(self.next() >> u32::BITS) >> u32::BITS;
        u32::try_from(below).unwrap_or(0) + 1
    }

    /// Returns true with a probability of `parts` in a million.
    pub(super) fn happens(&mut self, parts: u32) -> bool {
        parts > 0 && self.next() % MILLION < u64::from(parts)
    }
}

/// Distributes a number over all bits.
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published algorithm. Earlier simulations can be repeated.
    #[test]
    fn the_numbers_are_those_of_the_published_algorithm() {
        let mut random = Random::new(0);
        let numbers = [random.next(), random.next()];
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[random.below(5)] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
        let from_one: Vec<u32> = (0..200).map(|_| random.one_to(3)).collect();
        assert_eq!((from_one.iter().min(), from_one.iter().max()), (Some(&1), Some(&3)));
        assert!(!random.happens(0));
        assert!(random.happens(1_000_000));
    }
}
