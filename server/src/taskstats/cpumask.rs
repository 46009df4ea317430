//! Sets of CPUs, and the kernel's list syntax for them.

mod parse;

pub(crate) use parse::CpumaskError;

use std::fmt;

/// A set of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cpumask {
    /// The last word is not 0, so that equal sets have equal words.
    words: Vec<u64>,
}

impl Cpumask {
    /// The upper limit for CPU numbers, exclusive: the highest `NR_CPUS` with which a kernel can be
    /// built (`arch/x86/Kconfig`).
    pub(crate) const MAX_CPUS: u32 = 8192;

    /// Parses a list of CPUs in the syntax of the kernel's `bitmap_parselist` (`lib/bitmap-str.c`):
    /// `0-3,8`, `N` for the last possible CPU, `all`, and `0-31:1/4` for the first of every 4 CPUs.
    /// Blanks separate items as commas do, and empty items are ignored. Text without any item means
    /// all possible CPUs.
    ///
    /// # Errors
    /// Returns the syntax error, or the CPU that is not in `possible`.
    pub(crate) fn parse(text: &str, possible: &Self) -> Result<Self, CpumaskError> {
        parse::parse(text, possible)
    }

    /// Parses the format of `/sys/devices/system/cpu/possible` and similar files. Empty text is the
    /// empty set.
    ///
    /// # Errors
    /// Returns the syntax error, or the CPU that is not below [`Self::MAX_CPUS`].
    pub(crate) fn from_sysfs_list(text: &str) -> Result<Self, CpumaskError> {
        parse::from_sysfs_list(text)
    }

    /// Adds a CPU and returns true. A CPU at or above [`Self::MAX_CPUS`] cannot exist and is not
    /// added; the result is then false.
    pub(crate) fn insert(&mut self, cpu: u32) -> bool {
        if cpu >= Self::MAX_CPUS {
            return false;
        }
        let (word, bit) = word_and_bit(cpu);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
        true
    }

    /// Returns whether the set contains a CPU.
    #[must_use]
    pub(crate) fn contains(&self, cpu: u32) -> bool {
        let (word, bit) = word_and_bit(cpu);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Returns the CPUs in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).step_by(WORD_BITS).zip(&self.words).flat_map(|(first, &word)| {
            (0..u64::BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| first + bit)
        })
    }

    /// Returns the highest CPU.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        let word = self.words.last()?;
        let first_of_word = (0_u32..).step_by(WORD_BITS).nth(self.words.len() - 1)?;
        Some(first_of_word + word.checked_ilog2()?)
    }

    /// Returns the number of CPUs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns whether some CPU is in both sets.
    #[must_use]
    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(mine, theirs)| mine & theirs != 0)
    }

    /// Returns the size of the heap memory, in bytes.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Returns whether the other set contains every CPU of this one.
    #[must_use]
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.words.len() <= other.words.len()
            && self.words.iter().zip(&other.words).all(|(mine, theirs)| mine & !theirs == 0)
    }
}

/// The number of CPUs in a word.
const WORD_BITS: usize = 64;

/// Returns the word and the bit of a CPU.
fn word_and_bit(cpu: u32) -> (usize, u64) {
    // A usize has at least 32 bits on every architecture with taskstats.
    let word = usize::try_from(cpu / u64::BITS).unwrap_or(usize::MAX);
    (word, 1 << (cpu % u64::BITS))
}

/// Collects the CPUs below `Cpumask::MAX_CPUS` and ignores others, which cannot exist.
impl FromIterator<u32> for Cpumask {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut mask = Self::default();
        for cpu in cpus {
            mask.insert(cpu);
        }
        mask
    }
}

/// Prints the canonical list: ascending, with the longest possible ranges, such as `0-3,8`.
impl fmt::Display for Cpumask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut cpus = self.iter().peekable();
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next == last + 1) {
                last = next;
            }
            write!(formatter, "{separator}{first}")?;
            if last > first {
                write!(formatter, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
