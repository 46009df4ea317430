//! Parser for lists of CPUs, in the syntax of `bitmap_parselist` in the kernel's
//! `lib/bitmap-str.c`. The syntax does not depend on the running kernel: `all` came with 5.13, `N`
//! with 5.12, strides with 4.12.

use thiserror::Error;

use super::Cpumask;

/// The longest accepted text, in bytes. It fits more than 1,000 CPUs listed one by one; ranges are
/// shorter. The kernel's own limit grows with the number of CPUs it was built for.
const MAX_TEXT: usize = 4096;

/// The length of the excerpt in an error, in bytes.
const MAX_EXCERPT: usize = 32;

/// Separators of items beside the comma: the ASCII characters that the kernel's `isspace` accepts.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// Means the last possible CPU, in place of a number.
const LAST_CPU: &str = "N";

/// Means all possible CPUs, in upper or lower case.
const ALL_CPUS: &str = "all";

/// The error of parsing a list of CPUs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CpumaskError {
    /// The text is too long.
    #[error(
        "the cpumask is {length} bytes long and the limit is {limit}; \
         write neighbouring CPUs as ranges such as 0-63"
    )]
    TooLong {
        /// The length of the text, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// An item has none of the known forms.
    #[error(
        "`{item}` in the cpumask is malformed; \
         write a CPU such as 3, a range such as 0-3, `all`, or a stride such as 0-31:1/4"
    )]
    Malformed {
        /// The item, shortened if long.
        item: String,
    },
    /// The end of a range is below its start.
    #[error("the range `{item}` in the cpumask ends before it begins; write {end}-{start}")]
    Reversed {
        /// The item, shortened if long.
        item: String,
        /// The start of the range.
        start: u32,
        /// The end of the range.
        end: u32,
    },
    /// The groups of a stride are empty, or smaller than the part to select.
    #[error(
        "the stride `{item}` in the cpumask selects {used} of every {group}; \
         the second number must be above 0 and at least the first"
    )]
    Stride {
        /// The item, shortened if long.
        item: String,
        /// The CPUs to select from each group.
        used: u32,
        /// The size of a group.
        group: u32,
    },
    /// A CPU is not possible on this machine.
    #[error(
        "cpu {cpu} of `{item}` in the cpumask is not possible here; the possible CPUs are {possible}"
    )]
    Impossible {
        /// The item, shortened if long.
        item: String,
        /// The CPU as it was written, or the first CPU of a range that is not possible.
        cpu: String,
        /// The possible CPUs.
        possible: String,
    },
    /// The list has items, but they select no CPU.
    #[error("the cpumask `{text}` selects no CPU; leave it empty for all CPUs")]
    SelectsNone {
        /// The text, shortened if long.
        text: String,
    },
}

/// One item of a list.
struct Item<'a> {
    text: &'a str,
    possible: &'a Cpumask,
    last: u32,
}

/// The part of a range that an item selects: the first `used` CPUs of every `group`.
struct Stride {
    used: u32,
    group: u32,
}

pub(super) fn parse(text: &str, possible: &Cpumask) -> Result<Cpumask, CpumaskError> {
    if text.len() > MAX_TEXT {
        return Err(CpumaskError::TooLong { length: text.len(), limit: MAX_TEXT });
    }
    if text.chars().all(|letter| BLANKS.contains(&letter)) {
        return Ok(possible.clone());
    }
    let mask = parse_items(text, possible)?;
    if mask.is_empty() {
        return Err(CpumaskError::SelectsNone { text: excerpt(text) });
    }
    Ok(mask)
}

pub(super) fn from_sysfs_list(text: &str) -> Result<Cpumask, CpumaskError> {
    let every_cpu: Cpumask = (0..Cpumask::MAX_CPUS).collect();
    parse_items(text, &every_cpu)
}

fn parse_items(text: &str, possible: &Cpumask) -> Result<Cpumask, CpumaskError> {
    let last = possible.last().unwrap_or(0);
    let mut mask = Cpumask::default();
    let is_separator = |letter: char| letter == ',' || BLANKS.contains(&letter);
    for text in text.split(is_separator).filter(|item| !item.is_empty()) {
        Item { text, possible, last }.add_to(&mut mask)?;
    }
    Ok(mask)
}

impl Item<'_> {
    fn add_to(&self, mask: &mut Cpumask) -> Result<(), CpumaskError> {
        let (range, stride) = match self.text.split_once(':') {
            Some((range, stride)) => (range, Some(self.stride(stride)?)),
            None => (self.text, None),
        };
        let is_all = range.eq_ignore_ascii_case(ALL_CPUS);
        let (start, end) = if is_all { (0, self.last) } else { self.range(range)? };
        for cpu in start..=end {
            let is_selected = stride.as_ref().is_none_or(|stride| stride.selects(cpu - start));
            if !is_selected || (is_all && !self.possible.contains(cpu)) {
                continue;
            }
            self.check_possible(cpu)?;
            mask.insert(cpu);
        }
        Ok(())
    }

    fn range(&self, text: &str) -> Result<(u32, u32), CpumaskError> {
        let (start, end) = match text.split_once('-') {
            Some((start, end)) => (self.cpu(start)?, self.cpu(end)?),
            None => (self.cpu(text)?, self.cpu(text)?),
        };
        if start > end {
            return Err(CpumaskError::Reversed { item: excerpt(self.text), start, end });
        }
        Ok((start, end))
    }

    /// Parses a CPU that is at most the last possible one, which bounds the length of a range.
    fn cpu(&self, text: &str) -> Result<u32, CpumaskError> {
        let cpu = self.number(text)?;
        match cpu {
            Some(cpu) if cpu <= self.last => Ok(cpu),
            _ => Err(self.impossible(excerpt(text))),
        }
    }

    fn stride(&self, text: &str) -> Result<Stride, CpumaskError> {
        let (used, group) = text.split_once('/').ok_or_else(|| self.malformed())?;
        let used = self.number(used)?.ok_or_else(|| self.malformed())?;
        let group = self.number(group)?.ok_or_else(|| self.malformed())?;
        if group == 0 || used > group {
            return Err(CpumaskError::Stride { item: excerpt(self.text), used, group });
        }
        Ok(Stride { used, group })
    }

    /// Parses a number; `None` if it is too large for a CPU number.
    fn number(&self, text: &str) -> Result<Option<u32>, CpumaskError> {
        if text == LAST_CPU {
            return Ok(Some(self.last));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed());
        }
        Ok(text.parse().ok())
    }

    fn check_possible(&self, cpu: u32) -> Result<(), CpumaskError> {
        if self.possible.contains(cpu) {
            return Ok(());
        }
        Err(self.impossible(cpu.to_string()))
    }

    fn impossible(&self, cpu: String) -> CpumaskError {
        let possible = self.possible.to_string();
        CpumaskError::Impossible { item: excerpt(self.text), cpu, possible }
    }

    fn malformed(&self) -> CpumaskError {
        CpumaskError::Malformed { item: excerpt(self.text) }
    }
}

impl Stride {
    fn selects(&self, position: u32) -> bool {
        position % self.group < self.used
    }
}

/// Returns the text, or its start if it is long.
fn excerpt(text: &str) -> String {
    if text.len() <= MAX_EXCERPT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_EXCERPT);
    format!("{}…", &text[..end])
}
