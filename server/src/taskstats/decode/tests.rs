//! Structs are built here field by field, as `include/uapi/linux/taskstats.h` declares them, and not
//! from the table of offsets, so that a mistake in the table shows.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::swapped::{decode_swapped, swap};
use super::{Provenance, decode};
use crate::taskstats::{
    Comm, ContextSwitches, CpuTime, Delay, Executable, Extremes, Faults, Identity, Io, Memory,
    Stats, TaskIdentity,
};

const GROUP: Provenance = Provenance::ExitedGroup { tgid: 77, version_if_unset: 0 };
const LIVE_GROUP: Provenance = Provenance::LiveGroup { tgid: 77 };

/// Lays out a C struct, field by field.
#[derive(Default)]
struct CStruct {
    bytes: Vec<u8>,
    is_swapped: bool,
}

impl CStruct {
    fn align(&mut self, alignment: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0xee);
        self
    }

    fn push<const SIZE: usize>(&mut self, mut field: [u8; SIZE]) -> &mut Self {
        if self.is_swapped {
            field.reverse();
        }
        self.align(SIZE).bytes.extend(field);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.push([value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.push(value.to_ne_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.push(value.to_ne_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.push(value.to_ne_bytes())
    }

    fn u64s(&mut self, values: &[u64]) -> &mut Self {
        for value in values {
            self.u64(*value);
        }
        self
    }

    /// Two values of each class.
    fn pairs(&mut self, first: u64, second: u64) {
        for class in 0..8 {
            self.u64s(&[first + class, second + class]);
        }
    }

    /// Count and total of a class, and in v15 its longest and shortest wait.
    fn delay(&mut self, version: u16, class: u64) -> &mut Self {
        self.u64s(&[1000 + class, 2000 + class]);
        if version == 15 { self.u64s(&[3000 + class, 4000 + class]) } else { self }
    }
}

/// The struct of a version with a value of its own in each field.
pub(in crate::taskstats) fn raw(version: u16, is_swapped: bool) -> Vec<u8> {
    let mut raw = CStruct { is_swapped, ..CStruct::default() };
    raw.u16(version).u32(0x0000_2a00).u8(0x23).u8(0xf6).align(8);
    raw.delay(version, 0).delay(version, 1).delay(version, 2).u64s(&[501, 502]);
    raw.bytes.extend(b"worker\xff/3\0with what was there...");
    raw.u8(3).align(8).u32(1001).u32(1002).u32(4711).u32(4710).u32(1_700_000_001).align(8);
    raw.u64s(&[601, 602, 603, 604, 605]);
    raw.u64s(&[701, 702, 703, 704, 705, 706, 707, 708, 709, 710, 711]);
    raw.u64s(&[801, 802, 901, 902, 903]).delay(version, 3);
    if version >= 9 {
        raw.delay(version, 4);
    }
    if version >= 10 {
        raw.u64(1_700_000_002);
    }
    if version >= 11 {
        raw.delay(version, 5);
    }
    if version >= 12 {
        raw.u32(4700).u64(606).u64s(&[0xfd01, 98_765]);
    }
    if version >= 13 {
        raw.delay(version, 6);
    }
    if version >= 14 {
        raw.delay(version, 7);
    }
    if version >= 16 {
        raw.pairs(3000, 4000);
    }
    if version >= 17 {
        raw.pairs(5000, 6000);
    }
    raw.bytes
}

/// The delay of a class as the fields above have it.
fn delay(version: u16, class: u64) -> Option<Delay> {
    let max_at = (version >= 17)
        .then(|| Duration::from_secs(5000 + class))
        .map(|seconds| seconds + Duration::from_nanos(6000 + class));
    let extremes = Extremes { max_ns: 3000 + class, min_ns: 4000 + class, max_at };
    Some(Delay {
        count: 1000 + class,
        total_ns: 2000 + class,
        extremes: (version >= 15).then_some(extremes),
    })
}

/// What `raw` means when it is the record of an exited task.
pub(in crate::taskstats) fn expected(version: u16) -> Stats {
    let since = |first: u16, class| if version >= first { delay(version, class) } else { None };
    Stats {
        version,
        identity: expected_identity(version),
        exit_status: Some(0x2a00),
        cpu: CpuTime {
            user_us: Some(602),
            system_us: Some(603),
            user_scaled_us: Some(901),
            system_scaled_us: Some(902),
            run_real_ns: Some(501),
            run_virtual_ns: Some(502),
            run_real_scaled_ns: Some(903),
        },
        elapsed_us: Some(601),
        group_elapsed_us: (version >= 12).then_some(606),
        faults: Some(Faults { minor: 604, major: 605 }),
        memory: Some(Memory {
            rss_integral_mb_us: 701,
            vm_integral_mb_us: 702,
            peak_rss_kib: 703,
            peak_vm_kib: 704,
        }),
        io: Some(Io {
            read_chars_bytes: 705,
            write_chars_bytes: 706,
            read_syscalls: 707,
            write_syscalls: 708,
            read_bytes: 709,
            write_bytes: 710,
            cancelled_write_bytes: 711,
        }),
        context_switches: Some(ContextSwitches { voluntary: 801, involuntary: 802 }),
        delays: [
            since(8, 0),
            since(8, 1),
            since(8, 2),
            since(8, 3),
            since(9, 4),
            since(11, 5),
            since(13, 6),
            since(14, 7),
        ],
        executable: (version >= 12).then_some(Executable { device: 0xfd01, inode: 98_765 }),
        unknown_tail: Vec::new(),
    }
}

fn expected_identity(version: u16) -> Identity {
    let mut comm = [0; 32];
    comm[..9].copy_from_slice(b"worker\xff/3");
    let task = TaskIdentity {
        ppid: 4710,
        uid: 1001,
        gid: 1002,
        comm: Comm::new(&comm),
        nice: -10,
        scheduler: 3,
        flags: 0x23,
        begin_time_s: if version >= 10 { 1_700_000_002 } else { 1_700_000_001 },
    };
    Identity { pid: Some(4711), tgid: (version >= 12).then_some(4700), task: Some(task) }
}

fn put(raw: &mut [u8], offset: usize, value: u64) {
    raw[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
}

fn task(raw: &[u8]) -> Stats {
    decode(raw, Provenance::ExitedTask)
}

#[test]
fn the_built_structs_have_the_kernels_sizes() {
    let sizes: Vec<_> = (8..=17).map(|version| raw(version, false).len()).collect();
    assert_eq!(sizes, [328, 344, 352, 368, 400, 416, 432, 560, 560, 688]);
}

#[test]
fn every_field_of_every_version_is_found() {
    for version in 8..=17 {
        assert_eq!(task(&raw(version, false)), expected(version), "version {version}");
    }
}

#[test]
fn every_field_is_found_in_the_other_byte_order() {
    for version in 8..=17 {
        let stats = decode_swapped(&raw(version, true), Provenance::ExitedTask);
        assert_eq!(stats, expected(version), "version {version}");
    }
}

/// Proves that what makes records of the other order knows each field, and its width.
#[test]
fn a_record_turned_around_is_one_of_the_other_order() {
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
fn a_later_version_begins_with_the_newest_known_struct() {
    let mut raw = raw(17, false);
    raw[..2].copy_from_slice(&21_u16.to_ne_bytes());
    raw.extend([1, 2, 3]);
    let known = expected(17);
    assert_eq!(task(&raw), Stats { version: 21, unknown_tail: vec![1, 2, 3], ..known });
}

#[test]
fn what_a_known_version_should_not_have_is_handed_on() {
    for version in [8, 14, 15, 16, 17] {
        let mut raw = raw(version, false);
        raw.extend([9, 8]);
        assert_eq!(task(&raw), Stats { unknown_tail: vec![9, 8], ..expected(version) });
    }
}

#[test]
fn a_record_without_a_version_says_nothing() {
    let mut raw = raw(16, false);
    raw[..2].fill(0);
    assert_eq!(task(&raw), Stats::default());
    assert_eq!(task(&[]), Stats::default());
}

/// A struct cut anywhere: what remains is what the whole one had.
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
                // The begin time falls back on the older, narrower field.
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

/// Each present group of fields in words, delays without what can be missing in them.
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

/// Proves that a status is told of what has ended, and not the signal that stopped a traced task.
#[test]
fn a_task_that_waits_to_be_reaped_has_an_exit_status() {
    let mut raw = raw(16, false);
    assert_eq!(decode(&raw, Provenance::LiveTask).exit_status, None, "it has memory");
    put(&mut raw, 200, 0);
    put(&mut raw, 208, 0);
    assert_eq!(decode(&raw, Provenance::LiveTask).exit_status, Some(0x2a00));
}

#[test]
fn a_group_has_only_what_the_kernel_adds_up() {
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
fn a_group_has_no_user_and_system_time_where_the_kernel_does_not_add_them_up() {
    let mut raw = raw(16, false);
    put(&mut raw, 144, 0);
    for group in [LIVE_GROUP, GROUP] {
        let cpu = decode(&raw, group).cpu;
        assert_eq!((cpu.user_us, cpu.system_us, cpu.run_real_ns), (None, None, Some(501)));
    }
}

#[test]
fn a_group_that_ended_has_no_context_switches_where_the_kernel_counts_those_of_the_living_only() {
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
fn a_class_that_was_never_waited_for_has_no_extremes() {
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
fn what_is_not_a_moment_is_absent() {
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
fn a_begin_time_beyond_64_bits_falls_back_on_the_narrow_field() {
    let mut raw = raw(16, false);
    put(&mut raw, 344, u64::MAX);
    assert_eq!(task(&raw).identity.task.unwrap().begin_time_s, 1_700_000_001);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
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
