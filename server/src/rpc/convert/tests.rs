//! What the exit path's own encoder writes is what the conversion says.

use std::time::Duration;

use proptest::array::uniform8;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use taskstats_proto::v1;

use super::{task_stats, timestamp};
use crate::encode::encode_event;
use crate::taskstats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayAccounting, Executable, Exit, Extremes, Faults,
    Identity, Io, Memory, Since, Stats, TaskIdentity,
};

/// Longer than two bytes of a length can say.
const LONG_TAIL: usize = 20_000;

/// What an event beside the exit is made of.
type Circumstances = (u64, Duration, DelayAccounting);

fn exit_event(exit: &Exit, (sequence, received_at, accounting): Circumstances) -> v1::ExitEvent {
    v1::ExitEvent {
        sequence,
        cpu: exit.cpu,
        kernel_sequence: exit.kernel_sequence,
        received_at: Some(timestamp(received_at)),
        task: Some(task_stats(&exit.task, accounting.task_coverage(&exit.task))),
        process: exit.process.as_ref().map(|group| {
            let covered = accounting.exited_group_coverage(group, &exit.task);
            Box::new(task_stats(group, covered))
        }),
        last_in_process: exit.last_in_process(),
    }
}

/// Any number, with as many short ones as long ones, and often 0, which is not absence.
fn number() -> impl Strategy<Value = u64> {
    let of_every_length = (any::<u64>(), 0..u64::BITS).prop_map(|(value, shift)| value >> shift);
    prop_oneof![1 => Just(0), 4 => of_every_length]
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0), 4 => any::<u32>()]
}

fn moment() -> impl Strategy<Value = Duration> {
    (0..=i64::MAX.unsigned_abs(), 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanoseconds)| Duration::new(seconds, nanoseconds))
}

fn accounting() -> impl Strategy<Value = DelayAccounting> {
    let since = (option::of(moment()), moment())
        .prop_map(|(off_at, on_at)| DelayAccounting::On(Since::Between { off_at, on_at }));
    prop_oneof![
        Just(DelayAccounting::On(Since::Boot)),
        since,
        Just(DelayAccounting::Off),
        Just(DelayAccounting::Unknown)
    ]
}

fn comm() -> impl Strategy<Value = Comm> {
    let bytes = prop_oneof![any::<[u8; 32]>(), Just([b'a'; 32]), Just([0xff; 32]), Just([0; 32])];
    bytes.prop_map(|bytes| Comm::new(&bytes))
}

prop_compose! {
    fn task_identity()(
        (ppid, uid, gid) in (id(), id(), id()),
        comm in comm(),
        (nice, scheduler, flags) in prop_oneof![Just((0, 0, 0)), any::<(i8, u8, u8)>()],
        begin_time_s in any::<i64>(),
    ) -> TaskIdentity {
        TaskIdentity { ppid, uid, gid, comm, nice, scheduler, flags, begin_time_s }
    }
}

prop_compose! {
    fn identity()(
        (pid, tgid) in (option::of(id()), option::of(id())),
        task in option::of(task_identity()),
    ) -> Identity {
        Identity { pid, tgid, task }
    }
}

prop_compose! {
    fn cpu()(
        [user_us, system_us, user_scaled_us, system_scaled_us, run_real_ns, run_virtual_ns,
         run_real_scaled_ns, _] in uniform8(option::of(number())),
    ) -> CpuTime {
        CpuTime {
            user_us, system_us, user_scaled_us, system_scaled_us, run_real_ns, run_virtual_ns,
            run_real_scaled_ns,
        }
    }
}

prop_compose! {
    fn memory()(
        [rss_integral_mb_us, vm_integral_mb_us, peak_rss_kib, peak_vm_kib, ..]
            in uniform8(number()),
    ) -> Memory {
        Memory { rss_integral_mb_us, vm_integral_mb_us, peak_rss_kib, peak_vm_kib }
    }
}

prop_compose! {
    fn io()(
        [read_chars_bytes, write_chars_bytes, read_syscalls, write_syscalls, read_bytes,
         write_bytes, cancelled_write_bytes, _] in uniform8(number()),
    ) -> Io {
        Io {
            read_chars_bytes, write_chars_bytes, read_syscalls, write_syscalls, read_bytes,
            write_bytes, cancelled_write_bytes,
        }
    }
}

fn delay() -> impl Strategy<Value = Delay> {
    let extremes = (number(), number(), option::of(moment()))
        .prop_map(|(max_ns, min_ns, max_at)| Extremes { max_ns, min_ns, max_at });
    (number(), number(), option::of(extremes)).prop_map(|(count, total_ns, extremes)| Delay {
        count,
        total_ns,
        extremes,
    })
}

prop_compose! {
    fn stats()(
        (version, exit_status) in (0..20_u16, option::of(id())),
        (identity, cpu) in (identity().boxed(), cpu().boxed()),
        (elapsed_us, group_elapsed_us) in (option::of(number()), option::of(number())),
        faults in option::of((number(), number())),
        (memory, io) in (option::of(memory()).boxed(), option::of(io()).boxed()),
        switches in option::of((number(), number())),
        delays in uniform8(option::of(delay().boxed())).boxed(),
        executable in option::of((number(), number())),
        unknown_tail in prop_oneof![8 => vec(any::<u8>(), 0..300), 1 => Just(vec![7; LONG_TAIL])],
    ) -> Stats {
        Stats {
            version, identity, exit_status, cpu, elapsed_us, group_elapsed_us,
            faults: faults.map(|(minor, major)| Faults { minor, major }),
            memory, io,
            context_switches: switches
                .map(|(voluntary, involuntary)| ContextSwitches { voluntary, involuntary }),
            delays,
            executable: executable.map(|(device, inode)| Executable { device, inode }),
            unknown_tail,
        }
    }
}

prop_compose! {
    fn exit()(
        (cpu, kernel_sequence) in (id(), id()),
        // Boxed, here and above, because the strategies of all fields are too large for a stack.
        task in stats().boxed(),
        process in option::of(stats().boxed()),
    ) -> Exit {
        Exit { cpu, kernel_sequence, task, process: process.map(Box::new) }
    }
}

proptest! {
    #[test]
    fn encoded_exits_are_the_converted_ones(
        exits in vec((exit(), (number(), moment(), accounting())), 1..4),
    ) {
        let mut encoded = Vec::new();
        let mut expected = Vec::new();
        for (exit, circumstances) in exits {
            let (sequence, received_at, accounting) = circumstances;
            encode_event(&mut encoded, &exit, sequence, received_at, accounting);
            expected.push(exit_event(&exit, circumstances));
        }
        let decoded = v1::ExitEvents::decode(&*encoded).unwrap();
        prop_assert_eq!(decoded, v1::ExitEvents { events: expected, cursor: None });
    }
}

/// The proof of what the encoder says of lengths: everything at its longest, and the tails of an
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
    Exit { cpu: u32::MAX, kernel_sequence: u32::MAX, task, process }
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
