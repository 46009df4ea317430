//! Any bytes in place of a list of CPUs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::taskstats::Cpumask;

/// The longest list that is read, in bytes.
const MAX_TEXT: usize = 4096;
/// What the kernel's `isspace` takes for a blank in ASCII, and the comma.
const SEPARATORS: [char; 7] = [',', ' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// The possible CPUs of a machine, for the parser and for the model.
struct Machine {
    mask: Cpumask,
    cpus: BTreeSet<u32>,
}

/// Usual ones, with holes, with as many as there can be.
static MACHINES: LazyLock<[Machine; 5]> = LazyLock::new(|| {
    let machines: [BTreeSet<u32>; 5] = [
        (0..8).collect(),
        [0, 2, 3, 130].into(),
        (0..Cpumask::MAX_CPUS).collect(),
        [5].into(),
        (0..200).filter(|cpu| cpu % 3 != 0).collect(),
    ];
    machines.map(|cpus| Machine { mask: cpus.iter().copied().collect(), cpus })
});

/// Parses a list, the first byte choosing among machines, and compares with a slow model.
///
/// # Panics
/// When parser and model disagree, or what is printed is not what is parsed.
pub fn cpumask(bytes: &[u8]) {
    let Some((machine, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Machine { mask, cpus } = &MACHINES[usize::from(*machine) % MACHINES.len()];
    check(text, Cpumask::parse(text, mask).ok(), &model(text, cpus), mask);
    if mask.last() == Some(Cpumask::MAX_CPUS - 1) {
        check(text, Cpumask::from_sysfs_list(text).ok(), &items(text, cpus), mask);
    }
}

fn check(text: &str, parsed: Option<Cpumask>, model: &Option<BTreeSet<u32>>, possible: &Cpumask) {
    let cpus = parsed.as_ref().map(|mask| mask.iter().collect::<BTreeSet<_>>());
    assert_eq!(cpus, *model, "{text:?}");
    let Some(mask) = parsed else { return };
    assert!(mask.is_subset(possible));
    let printed = mask.to_string();
    if !mask.is_empty() && printed.len() <= MAX_TEXT {
        assert_eq!(Cpumask::parse(&printed, possible).as_ref(), Ok(&mask), "{printed}");
    }
}

/// The CPUs of a list as a caller writes it; `None` when it is refused.
fn model(text: &str, possible: &BTreeSet<u32>) -> Option<BTreeSet<u32>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    if text.chars().all(|letter| letter != ',' && SEPARATORS.contains(&letter)) {
        return Some(possible.clone());
    }
    items(text, possible).filter(|cpus| !cpus.is_empty())
}

/// The CPUs of all items, each looked at by itself.
fn items(text: &str, possible: &BTreeSet<u32>) -> Option<BTreeSet<u32>> {
    let items = text.split(SEPARATORS).filter(|item| !item.is_empty());
    let sets: Option<Vec<_>> = items.map(|text| item(text, possible)).collect();
    Some(sets?.into_iter().flatten().collect())
}

fn item(text: &str, possible: &BTreeSet<u32>) -> Option<BTreeSet<u32>> {
    let last = u64::from(possible.last().copied().unwrap_or(0));
    let (range, used, group) = match text.split(':').collect::<Vec<_>>()[..] {
        [range] => (range, 1, 1),
        [range, stride] => {
            let [used, group] = stride.split('/').collect::<Vec<_>>()[..] else { return None };
            (range, number(used, last)?, number(group, last)?)
        }
        _ => return None,
    };
    if group == 0 || used > group {
        return None;
    }
    let is_all = range.eq_ignore_ascii_case("all");
    let (start, end) = match range.split('-').collect::<Vec<_>>()[..] {
        _ if is_all => (0, last),
        [cpu] => (number(cpu, last)?, number(cpu, last)?),
        [start, end] => (number(start, last)?, number(end, last)?),
        _ => return None,
    };
    if start > end || end > last {
        return None;
    }
    let taken = (start..=end).filter(|cpu| (cpu - start) % group < used);
    let taken: BTreeSet<u32> = taken.filter_map(|cpu| cpu.try_into().ok()).collect();
    if is_all {
        return Some(taken.intersection(possible).copied().collect());
    }
    taken.is_subset(possible).then_some(taken)
}

/// A number that fits 32 bits, or the last CPU.
fn number(text: &str, last: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    let number = if text == "N" { Some(last) } else { text.parse().ok() };
    number.filter(|number| (digits || text == "N") && u32::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_is_dealt_with() {
        seeds("cpumask").iter().for_each(|seed| cpumask(seed));
    }

    proptest! {
        /// Lists that are right, nearly right, and wrong.
        #[test]
        fn parser_and_model_agree(
            machine in any::<u8>(),
            text in "([0-9]{1,3}|N|all|ALL)(-([0-9]{1,3}|N))?(:[0-9]{1,2}/[0-9]{1,2})?([, ]{1,2}[0-9N-]{1,4}){0,3}|[0-9N,:/ all\x0b-]{0,24}",
        ) {
            cpumask(&[&[machine], text.as_bytes()].concat());
        }
    }
}
