//! Arbitrary bytes as a list of CPUs.

use std::sync::LazyLock;

use crate::taskstats::Cpumask;

/// The longest accepted list, in bytes.
const MAX_TEXT: usize = 4096;
/// The ASCII characters that the kernel's `isspace` accepts, and the comma.
const SEPARATORS: [char; 7] = [',', ' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// Membership by CPU number, up to the last possible CPU.
type Cpus = Vec<bool>;

/// The possible CPUs of a machine, for the parser and for the model.
struct Machine {
    mask: Cpumask,
    cpus: Cpus,
}

/// Machines with consecutive CPUs, with gaps, and with the largest number of CPUs.
static MACHINES: LazyLock<[Machine; 5]> = LazyLock::new(|| {
    let machines: [Cpus; 5] = [
        vec![true; 8],
        (0..=130).map(|cpu| [0, 2, 3, 130].contains(&cpu)).collect(),
        (0..200).map(|cpu| cpu % 3 != 0).collect(),
        (0..=5).map(|cpu| cpu == 5).collect(),
        vec![true; Cpumask::MAX_CPUS as usize],
    ];
    machines.map(|cpus| Machine {
        mask: (0..).zip(&cpus).filter(|it| *it.1).map(|it| it.0).collect(),
        cpus,
    })
});

/// Parses a list and compares the result with that of a slow model. The first byte selects the
/// machine.
///
/// # Panics
/// If parser and model disagree, or if the printed set does not parse to the same set.
pub fn cpumask(bytes: &[u8]) {
    let Some((machine, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Machine { mask, cpus } = &MACHINES[usize::from(*machine) % MACHINES.len()];
    check(text, Cpumask::parse(text, mask).ok(), &model(text, cpus), mask);
    if mask.last() == Some(Cpumask::MAX_CPUS - 1) {
        check(text, Cpumask::from_sysfs_list(text).ok(), &items(text, cpus), mask);
    }
}

fn check(text: &str, parsed: Option<Cpumask>, model: &Option<Cpus>, possible: &Cpumask) {
    assert_eq!(parsed.is_some(), model.is_some(), "{text:?}");
    let (Some(mask), Some(model)) = (parsed, model) else { return };
    assert!((0..).zip(model).all(|(cpu, is_in)| mask.contains(cpu) == *is_in), "{text:?}: {mask}");
    assert!(mask.is_subset(possible));
    let printed = mask.to_string();
    if !mask.is_empty() && printed.len() <= MAX_TEXT {
        assert_eq!(Cpumask::parse(&printed, possible).as_ref(), Ok(&mask), "{printed}");
    }
}

/// Returns the CPUs of a caller's list; `None` if it must be refused.
fn model(text: &str, possible: &Cpus) -> Option<Cpus> {
    if text.len() > MAX_TEXT {
        return None;
    }
    if text.chars().all(|letter| letter != ',' && SEPARATORS.contains(&letter)) {
        return Some(possible.clone());
    }
    items(text, possible).filter(|cpus| cpus.contains(&true))
}

/// Returns the CPUs of all items, each evaluated separately.
fn items(text: &str, possible: &Cpus) -> Option<Cpus> {
    let mut cpus = vec![false; possible.len()];
    for text in text.split(SEPARATORS).filter(|item| !item.is_empty()) {
        for cpu in item(text, possible)? {
            cpus[cpu] = true;
        }
    }
    Some(cpus)
}

fn item(text: &str, possible: &Cpus) -> Option<Vec<usize>> {
    let last = possible.len() - 1;
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
    let mut selected: Vec<usize> =
        (start..=end).filter(|cpu| (cpu - start) % group < used).collect();
    if is_all {
        selected.retain(|cpu| possible[*cpu]);
    }
    selected.iter().all(|cpu| possible[*cpu]).then_some(selected)
}

/// Parses a number that fits into 32 bits, or the name of the last CPU.
fn number(text: &str, last: usize) -> Option<usize> {
    if text == "N" {
        return Some(last);
    }
    let is_number = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    let number: u32 = text.parse().ok().filter(|_| is_number)?;
    number.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_passes() {
        seeds("cpumask").iter().for_each(|seed| cpumask(seed));
    }

    proptest! {
        /// Lists that are valid, nearly valid, and invalid.
        #[test]
        fn parser_and_model_agree(
            machine in any::<u8>(),
            text in "([0-9]{1,3}|N|all|ALL)(-([0-9]{1,3}|N))?(:[0-9]{1,2}/[0-9]{1,2})?([, ]{1,2}[0-9N-]{1,4}){0,3}|[0-9N,:/ all\x0b-]{0,24}",
        ) {
            cpumask(&[&[machine], text.as_bytes()].concat());
        }
    }
}
