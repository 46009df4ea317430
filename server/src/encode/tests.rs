//! The length of the longest event that a kernel can cause.

use super::*;
use crate::bpf::CgroupId;
use crate::taskstats::Extremes;

/// Checks the lengths that the encoder states: everything at its longest, and the tails of an
/// 8 KiB message.
#[test]
fn whatever_fits_into_a_netlink_message_has_a_length_of_two_bytes() {
    let longest = longest_exit();
    let mut encoded = Vec::new();
    let received_at = Duration::new(i64::MAX.unsigned_abs(), 999_999_999);
    encode_event(&mut encoded, &longest, u64::MAX, received_at, DelayAccounting::Unknown);
    assert!(encoded.len() < 1 << 14, "{} bytes", encoded.len());
}

fn longest_exit() -> Exit {
    let task = longest_stats(vec![7; 8192]);
    let process = Some(Box::new(longest_stats(Vec::new())));
    let mut totals = ProcessTotals { complete: true, ..ProcessTotals::default() };
    totals.add(&task);
    totals.threads = u32::MAX;
    let cgroup = CgroupId { hierarchy: Hierarchy::V1, id: u64::MAX };
    let owner = Some(Owner { cgroup, attribution: Attribution::Guess });
    let ended_at = Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999));
    Exit {
        cpu: u32::MAX,
        kernel_sequence: u32::MAX,
        task,
        process,
        process_totals: Some(Box::new(totals)),
        owner,
        ended_at,
    }
}

fn longest_stats(unknown_tail: Vec<u8>) -> Stats {
    let many = u64::MAX;
    let max_at = Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999));
    let extremes = Some(Extremes { max_ns: many, min_ns: many, max_at });
    let task = TaskIdentity {
        ppid: u32::MAX,
        uid: u32::MAX,
        gid: u32::MAX,
        comm: Comm::new(&[0xff; 32]),
        nice: -1,
        scheduler: u8::MAX,
        flags: u8::MAX,
        begin_time_s: -1,
    };
    Stats {
        version: u16::MAX,
        identity: Identity { pid: Some(u32::MAX), tgid: Some(u32::MAX), task: Some(task) },
        exit_status: Some(u32::MAX),
        cpu: longest_cpu(),
        elapsed_us: Some(many),
        group_elapsed_us: Some(many),
        faults: Some(Faults { minor: many, major: many }),
        memory: Some(Memory {
            rss_integral_mb_us: many,
            vm_integral_mb_us: many,
            peak_rss_kib: many,
            peak_vm_kib: many,
        }),
        io: Some(longest_io()),
        context_switches: Some(ContextSwitches { voluntary: many, involuntary: many }),
        delays: [Some(Delay { count: many, total_ns: many, extremes }); 8],
        executable: Some(Executable { device: many, inode: many }),
        unknown_tail,
    }
}

fn longest_cpu() -> CpuTime {
    let many = Some(u64::MAX);
    CpuTime {
        user_us: many,
        system_us: many,
        user_scaled_us: many,
        system_scaled_us: many,
        run_real_ns: many,
        run_virtual_ns: many,
        run_real_scaled_ns: many,
    }
}

fn longest_io() -> Io {
    let many = u64::MAX;
    Io {
        read_chars_bytes: many,
        write_chars_bytes: many,
        read_syscalls: many,
        write_syscalls: many,
        read_bytes: many,
        write_bytes: many,
        cancelled_write_bytes: many,
    }
}
