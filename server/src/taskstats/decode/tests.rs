mod built;

use proptest::collection::vec;
use proptest::prelude::*;

use super::swapped::{decode_swapped, swap};
use super::{Provenance, decode};
use crate::taskstats::{CpuTime, Delay, Identity, Stats, TaskIdentity};

pub(crate) use self::built::{expected, raw};

const GROUP: Provenance = Provenance::ExitedGroup { tgid: 77, version_if_unset: 0 };
const LIVE_GROUP: Provenance = Provenance::LiveGroup { tgid: 77 };

fn put(raw: &mut [u8], offset: usize, value: u64) {
    raw[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
}

fn task(raw: &[u8]) -> Stats {
    decode(raw, Provenance::ExitedTask)
}

#[test]
fn the_structs_have_the_kernels_sizes() {
    let sizes: Vec<_> = (8..=17).map(|version| raw(version, false).len()).collect();
    assert_eq!(sizes, [328, 344, 352, 368, 400, 416, 432, 560, 560, 688]);
}

#[test]
fn every_field_of_every_version_is_decoded() {
    for version in 8..=17 {
        assert_eq!(task(&raw(version, false)), expected(version), "version {version}");
    }
}

#[test]
fn every_field_is_decoded_in_the_other_byte_order() {
    for version in 8..=17 {
        let stats = decode_swapped(&raw(version, true), Provenance::ExitedTask);
        assert_eq!(stats, expected(version), "version {version}");
    }
}

/// `swap` knows every field and its width.
#[test]
fn a_swapped_record_has_the_other_byte_order() {
    for version in 8..=17 {
        assert_eq!(swap(&raw(version, false), version), raw(version, true), "version {version}");
    }
}

#[test]
fn records_need_no_alignment() {
    let shifted = [&[0][..], &raw(16, false)].concat();
    assert_eq!(task(&shifted[1..]), expected(16));
}

#[test]
fn a_newer_version_starts_with_the_newest_known_struct() {
    let mut raw = raw(17, false);
    raw[..2].copy_from_slice(&21_u16.to_ne_bytes());
    raw.extend([1, 2, 3]);
    let known = expected(17);
    assert_eq!(task(&raw), Stats { version: 21, unknown_tail: vec![1, 2, 3], ..known });
}

#[test]
fn extra_bytes_of_a_known_version_are_kept() {
    for version in [8, 14, 15, 16, 17] {
        let mut raw = raw(version, false);
        raw.extend([9, 8]);
        assert_eq!(task(&raw), Stats { unknown_tail: vec![9, 8], ..expected(version) });
    }
}

#[test]
fn a_record_without_a_version_has_no_fields() {
    let mut raw = raw(16, false);
    raw[..2].fill(0);
    assert_eq!(task(&raw), Stats::default());
    assert_eq!(task(&[]), Stats::default());
}

/// A truncated struct has a subset of the fields of the whole one.
#[test]
fn prefixes_only_lose_fields() {
    for version in 8..=17 {
        let whole = raw(version, false);
        for provenance in [Provenance::LiveTask, Provenance::ExitedTask, LIVE_GROUP, GROUP] {
            let all = fields(&decode(&whole, provenance));
            let mut more: Vec<_> = all.iter().collect();
            for length in (2..=whole.len()).rev() {
                let cut = decode(&whole[..length], provenance);
                assert_eq!(cut.version, version);
                assert!(cut.unknown_tail.is_empty());
                let left = fields(&cut);
                // The start time falls back to the older, narrower field.
                more.retain(|field| left.contains(field) || field.starts_with("begin"));
                let known =
                    left.iter().all(|field| all.contains(field) || field.starts_with("begin"));
                assert!(known, "v{version} cut to {length}: {left:?}");
            }
            assert!(
                more.iter().all(|field| field.starts_with("begin") || field.starts_with("tgid"))
            );
        }
        assert_eq!(task(&whole[..1]), Stats::default());
    }
}

/// Formats each present group of fields, without the optional parts of delays.
fn fields(stats: &Stats) -> Vec<String> {
    let mut fields = Vec::new();
    let mut add = |name: &str, field: Option<String>| {
        fields.extend(field.map(|field| format!("{name} {field}")));
    };
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    add("pid", stats.identity.pid.map(|pid| pid.to_string()));
    add("tgid", stats.identity.tgid.map(|tgid| tgid.to_string()));
    let unborn = stats.identity.task.clone().map(|task| TaskIdentity { begin_time_s: 0, ..task });
    add("task", unborn.map(|task| format!("{task:?}")));
    add("begin", stats.identity.task.as_ref().map(|task| task.begin_time_s.to_string()));
    add("exit", stats.exit_status.map(|status| status.to_string()));
    let cpu = &stats.cpu;
    add("user", text(cpu.user_us));
    add("system", text(cpu.system_us));
    add("scaled", text(cpu.user_scaled_us));
    add("scaled system", text(cpu.system_scaled_us));
    add("real", text(cpu.run_real_ns));
    add("virtual", text(cpu.run_virtual_ns));
    add("scaled real", text(cpu.run_real_scaled_ns));
    add("elapsed", text(stats.elapsed_us));
    add("group elapsed", text(stats.group_elapsed_us));
    add("faults", stats.faults.map(|faults| format!("{faults:?}")));
    add("memory", stats.memory.map(|memory| format!("{memory:?}")));
    add("io", stats.io.map(|io| format!("{io:?}")));
    add("switches", stats.context_switches.map(|switches| format!("{switches:?}")));
    add("executable", stats.executable.map(|file| format!("{file:?}")));
    for (class, delay) in stats.delays.iter().enumerate() {
        let extremes = delay.and_then(|delay| delay.extremes);
        add(
            &format!("delay {class}"),
            delay.map(|delay| format!("{} {}", delay.count, delay.total_ns)),
        );
        add(&format!("max {class}"), extremes.map(|extremes| extremes.max_ns.to_string()));
        add(&format!("min {class}"), extremes.map(|extremes| extremes.min_ns.to_string()));
        let max_at = extremes.and_then(|extremes| extremes.max_at);
        add(&format!("at {class}"), max_at.map(|max_at| format!("{max_at:?}")));
    }
    fields
}

#[test]
fn a_live_task_has_no_exit_status() {
    let mut raw = raw(16, false);
    raw[4..8].fill(0);
    let expected = Stats { exit_status: None, ..expected(16) };
    assert_eq!(decode(&raw, Provenance::LiveTask), expected);
}

/// A status is reported for an exited task, and not for a traced task that a signal stopped.
#[test]
fn a_zombie_has_an_exit_status() {
    let mut raw = raw(16, false);
    assert_eq!(decode(&raw, Provenance::LiveTask).exit_status, None, "it has memory");
    put(&mut raw, 200, 0);
    put(&mut raw, 208, 0);
    assert_eq!(decode(&raw, Provenance::LiveTask).exit_status, Some(0x2a00));
}

#[test]
fn a_group_has_only_the_fields_that_the_kernel_sums() {
    for version in 8..=17 {
        let task = expected(version);
        let without_extremes =
            |delay: Option<Delay>| delay.map(|delay| Delay { extremes: None, ..delay });
        let expected = Stats {
            version,
            identity: Identity { tgid: Some(77), ..Identity::default() },
            cpu: CpuTime { user_scaled_us: None, system_scaled_us: None, ..task.cpu },
            context_switches: task.context_switches,
            delays: task.delays.map(without_extremes),
            ..Stats::default()
        };
        for group in [LIVE_GROUP, GROUP] {
            assert_eq!(decode(&raw(version, false), group), expected, "version {version}");
        }
    }
}

#[test]
fn a_group_lacks_user_and_system_time_if_the_kernel_does_not_sum_them() {
    let mut raw = raw(16, false);
    put(&mut raw, 144, 0);
    for group in [LIVE_GROUP, GROUP] {
        let cpu = decode(&raw, group).cpu;
        assert_eq!((cpu.user_us, cpu.system_us, cpu.run_real_ns), (None, None, Some(501)));
    }
}

#[test]
fn an_exited_group_lacks_context_switches_if_the_kernel_sums_only_live_tasks() {
    let mut raw = raw(13, false);
    let switches = |raw: &[u8], group| decode(raw, group).context_switches;
    assert_eq!(switches(&raw, GROUP), switches(&raw, LIVE_GROUP));
    put(&mut raw, 144, 0);
    assert_eq!(switches(&raw, GROUP), None);
    assert!(switches(&raw, LIVE_GROUP).is_some());
}

#[test]
fn a_group_without_a_version_has_that_of_its_task() {
    let whole = decode(&raw(15, false), GROUP);
    let mut raw = raw(15, false);
    raw[..2].fill(0);
    let provenance = Provenance::ExitedGroup { tgid: 77, version_if_unset: 15 };
    assert_eq!(decode(&raw, provenance), whole);
    raw[..2].copy_from_slice(&15_u16.to_ne_bytes());
    let provenance = Provenance::ExitedGroup { tgid: 77, version_if_unset: 16 };
    assert_eq!(decode(&raw, provenance), whole, "its own version comes first");
}

#[test]
fn a_class_without_waits_has_no_extremes() {
    let mut raw = raw(17, false);
    for offset in [16, 432, 440] {
        put(&mut raw, offset, 0);
    }
    let cpu = task(&raw).delays[0];
    assert_eq!(cpu, Some(Delay { count: 0, total_ns: 2000, extremes: None }));
    put(&mut raw, 440, 5);
    assert_eq!(task(&raw).delays[0].unwrap().extremes.unwrap().min_ns, 5);
}

#[test]
fn an_invalid_time_is_absent() {
    let seconds_and_nanoseconds =
        [(0, 0), (1, 1_000_000_000), (1, u64::MAX), (u64::MAX, 0), (1 << 63, 0), (1, 1 << 32)];
    for (seconds, nanoseconds) in seconds_and_nanoseconds {
        let mut raw = raw(17, false);
        put(&mut raw, 560, seconds);
        put(&mut raw, 568, nanoseconds);
        let extremes = task(&raw).delays[0].unwrap().extremes.unwrap();
        assert_eq!((extremes.max_ns, extremes.max_at), (3000, None), "{seconds} {nanoseconds}");
    }
}

#[test]
fn a_kernel_thread_has_no_executable() {
    let mut raw = raw(16, false);
    put(&mut raw, 384, 0);
    assert!(task(&raw).executable.is_some(), "an inode suffices");
    put(&mut raw, 392, 0);
    assert_eq!(task(&raw).executable, None);
}

#[test]
fn a_start_time_beyond_64_bits_falls_back_to_the_narrow_field() {
    let mut raw = raw(16, false);
    put(&mut raw, 344, u64::MAX);
    assert_eq!(task(&raw).identity.task.unwrap().begin_time_s, 1_700_000_001);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        version in 0..20_u16,
        mut bytes in vec(any::<u8>(), 0..900),
        provenance in prop_oneof![
            Just(Provenance::LiveTask), Just(Provenance::ExitedTask), Just(LIVE_GROUP), Just(GROUP)
        ],
    ) {
        if let Some(field) = bytes.first_chunk_mut() {
            *field = version.to_ne_bytes();
        }
        let stats = decode(&bytes, provenance);
        prop_assert!(stats.unknown_tail.len() <= bytes.len());
    }
}
