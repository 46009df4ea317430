//! Arbitrary bytes as a `struct taskstats`.

use std::fmt::Debug;

use crate::taskstats::stats::Extremes;
use crate::taskstats::{Delay, Identity, Provenance, Stats, TaskIdentity, decode};

/// The id of the record's group.
const TGID: u32 = 77;

/// Decodes a record and a prefix of it. The first byte selects the record's provenance, the second
/// its version if it names none, and the next two the length of the prefix.
///
/// # Panics
/// If the prefix has a field that the record lacks, or a field with another value.
pub fn record(bytes: &[u8]) {
    let Some(([from, version_if_unset, low, high], record)) = bytes.split_first_chunk() else {
        return;
    };
    let provenance = match from % 4 {
        0 => Provenance::LiveTask,
        1 => Provenance::ExitedTask,
        2 => Provenance::ExitedGroup { tgid: TGID, version_if_unset: (*version_if_unset).into() },
        _ => Provenance::LiveGroup { tgid: TGID },
    };
    let cut = usize::from(u16::from_le_bytes([*low, *high])) % (record.len() + 1);
    let whole = decode(record, provenance);
    assert!(record.ends_with(&whole.unknown_tail), "the tail is not a part of the record");
    check_unaligned(record, provenance, &whole);
    check_part(&record[..cut], provenance, &whole);
}

fn check_unaligned(record: &[u8], provenance: Provenance, whole: &Stats) {
    let shifted = [&[0xff][..], record].concat();
    assert_eq!(decode(&shifted[1..], provenance), *whole, "alignment matters");
}

fn check_part(part: &[u8], provenance: Provenance, whole: &Stats) {
    let stats = decode(part, provenance);
    if part.len() < size_of::<u16>() {
        assert_only_group_id(&stats);
    } else {
        assert_only_loses(&stats, whole);
    }
}

/// Checks that only the group's id is present.
fn assert_only_group_id(stats: &Stats) {
    let identity = Identity { tgid: stats.identity.tgid, ..Identity::default() };
    let nothing = Stats { version: stats.version, identity, ..Stats::default() };
    assert_eq!(*stats, nothing);
}

/// Checks that each field of a prefix is absent or equal to that of the whole record.
///
/// # Panics
/// If a field is neither.
fn assert_only_loses(part: &Stats, whole: &Stats) {
    assert_eq!(part.version, whole.version);
    assert!(whole.unknown_tail.starts_with(&part.unknown_tail));
    assert_kept(&part.identity.pid, &whole.identity.pid);
    assert_kept(&part.identity.tgid, &whole.identity.tgid);
    assert_kept(
        &part.identity.task.as_ref().map(without_start_time),
        &whole.identity.task.as_ref().map(without_start_time),
    );
    assert_kept(&part.exit_status, &whole.exit_status);
    assert_kept(&part.cpu.user_us, &whole.cpu.user_us);
    assert_kept(&part.cpu.system_us, &whole.cpu.system_us);
    assert_kept(&part.cpu.user_scaled_us, &whole.cpu.user_scaled_us);
    assert_kept(&part.cpu.system_scaled_us, &whole.cpu.system_scaled_us);
    assert_kept(&part.cpu.run_real_ns, &whole.cpu.run_real_ns);
    assert_kept(&part.cpu.run_virtual_ns, &whole.cpu.run_virtual_ns);
    assert_kept(&part.cpu.run_real_scaled_ns, &whole.cpu.run_real_scaled_ns);
    assert_kept(&part.elapsed_us, &whole.elapsed_us);
    assert_kept(&part.group_elapsed_us, &whole.group_elapsed_us);
    assert_kept(&part.faults, &whole.faults);
    assert_kept(&part.memory, &whole.memory);
    assert_kept(&part.io, &whole.io);
    assert_kept(&part.context_switches, &whole.context_switches);
    assert_kept(&part.executable, &whole.executable);
    for (part, whole) in part.delays.iter().zip(&whole.delays) {
        check_delay(*part, *whole);
    }
}

fn check_delay(part: Option<Delay>, whole: Option<Delay>) {
    let sums = |delay: Delay| (delay.count, delay.total_ns);
    assert_kept(&part.map(sums), &whole.map(sums));
    let extremes = |delay: Option<Delay>| delay.and_then(|delay| delay.extremes);
    let (part, whole) = (extremes(part), extremes(whole));
    let waits = |extremes: Extremes| (extremes.max_ns, extremes.min_ns);
    assert_kept(&part.map(waits), &whole.map(waits));
    let max_at = |extremes: Option<Extremes>| extremes.and_then(|extremes| extremes.max_at);
    assert_kept(&max_at(part), &max_at(whole));
}

fn assert_kept<T: PartialEq + Debug>(part: &Option<T>, whole: &Option<T>) {
    if part.is_some() {
        assert_eq!(part, whole, "the prefix has a field that the record lacks");
    }
}

/// Removes the start time, which falls back to an older, narrower field.
fn without_start_time(task: &TaskIdentity) -> TaskIdentity {
    TaskIdentity { begin_time_s: 0, ..task.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_passes() {
        seeds("record").iter().for_each(|seed| record(seed));
    }

    fn provenances() -> impl Strategy<Value = Provenance> {
        let group = |version_if_unset| Provenance::ExitedGroup { tgid: TGID, version_if_unset };
        prop_oneof![
            Just(Provenance::LiveTask),
            Just(Provenance::ExitedTask),
            Just(Provenance::LiveGroup { tgid: TGID }),
            (0..20_u16).prop_map(group),
        ]
    }

    proptest! {
        /// A record of any version with arbitrary fields, truncated anywhere.
        #[test]
        fn a_prefix_only_loses_fields(
            version in 0..20_u16,
            mut bytes in vec(prop_oneof![Just(0), any::<u8>()], 2..800),
            provenance in provenances(),
            longer in any::<prop::sample::Index>(),
            shorter in any::<prop::sample::Index>(),
        ) {
            bytes[..2].copy_from_slice(&version.to_ne_bytes());
            let longer = &bytes[..longer.index(bytes.len() + 1)];
            let shorter = &longer[..shorter.index(longer.len() + 1)];
            if longer.len() >= size_of::<u16>() {
                check_part(shorter, provenance, &decode(longer, provenance));
            }
        }
    }
}
