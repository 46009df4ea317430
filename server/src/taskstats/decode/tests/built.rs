//! The struct of each version and the statistics it stands for. The struct is laid out field by
//! field, as `include/uapi/linux/taskstats.h` declares it, and not from the table of offsets, so
//! that the tests detect a mistake in the table.

use std::time::Duration;

use crate::taskstats::{
    Comm, ContextSwitches, CpuTime, Delay, Executable, Extremes, Faults, Identity, Io, Memory,
    Stats, TaskIdentity,
};

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

    /// Appends two values for each class.
    fn pairs(&mut self, first: u64, second: u64) {
        for class in 0..8 {
            self.u64s(&[first + class, second + class]);
        }
    }

    /// Appends count and total of a class, and in v15 its longest and shortest wait.
    fn delay(&mut self, version: u16, class: u64) -> &mut Self {
        self.u64s(&[1000 + class, 2000 + class]);
        if version == 15 { self.u64s(&[3000 + class, 4000 + class]) } else { self }
    }
}

/// Returns the struct of a version with a different value in each field.
pub(crate) fn raw(version: u16, is_swapped: bool) -> Vec<u8> {
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

/// Returns the delay of a class with the values above.
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

/// Returns the statistics in `raw`, as the record of an exited task.
pub(crate) fn expected(version: u16) -> Stats {
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
