//! Generated exits for tests, with any value in each field.

use std::time::Duration;

use proptest::array::uniform8;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::bpf::{CgroupId, Hierarchy};
use crate::taskstats::{
    Attribution, Comm, ContextSwitches, CpuTime, Delay, DelayAccounting, Executable, Exit,
    Extremes, Faults, Identity, Io, Memory, Owner, ProcessTotals, Since, Stats, TaskIdentity,
};

/// Bytes of an unknown tail whose length needs more than two bytes of a varint.
const LONG_TAIL: usize = 20_000;

/// Any number, with as many short ones as long ones, and often 0, which is not absence.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    let of_every_length = (any::<u64>(), 0..u64::BITS).prop_map(|(value, shift)| value >> shift);
    prop_oneof![1 => Just(0), 4 => of_every_length]
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0), 4 => any::<u32>()]
}

pub(crate) fn time() -> impl Strategy<Value = Duration> {
    (0..=i64::MAX.unsigned_abs(), 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanoseconds)| Duration::new(seconds, nanoseconds))
}

pub(crate) fn accounting() -> impl Strategy<Value = DelayAccounting> {
    let since = (option::of(time()), time())
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
    let extremes = (number(), number(), option::of(time()))
        .prop_map(|(max_ns, min_ns, max_at)| Extremes { max_ns, min_ns, max_at });
    (number(), number(), option::of(extremes)).prop_map(|(count, total_ns, extremes)| Delay {
        count,
        total_ns,
        extremes,
    })
}

prop_compose! {
    pub(crate) fn stats()(
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
    fn process_totals()(
        thread in stats().boxed(),
        threads in 1..4_u32,
        complete in any::<bool>(),
    ) -> ProcessTotals {
        let mut totals = ProcessTotals::default();
        (0..threads).for_each(|_| totals.add(&thread));
        ProcessTotals { complete, ..totals }
    }
}

fn owner() -> impl Strategy<Value = Owner> {
    use Attribution::{Exact, Guess, Inferred, Observed};
    let hierarchy = prop_oneof![Just(Hierarchy::V2), Just(Hierarchy::V1)];
    let attribution = prop_oneof![Just(Exact), Just(Observed), Just(Inferred), Just(Guess)];
    (hierarchy, number(), attribution).prop_map(|(hierarchy, id, attribution)| Owner {
        cgroup: CgroupId { hierarchy, id },
        attribution,
    })
}

prop_compose! {
    pub(crate) fn exit()(
        (cpu, kernel_sequence) in (id(), id()),
        // Boxed, here and above, because the strategies of all fields are too large for a stack.
        task in stats().boxed(),
        process in option::of(stats().boxed()),
        owner in option::of(owner()),
        ended_at in option::of(time()),
        process_totals in option::of(process_totals().boxed()),
    ) -> Exit {
        Exit {
            cpu, kernel_sequence, task,
            process: process.map(Box::new),
            process_totals: process_totals.map(Box::new),
            owner, ended_at,
        }
    }
}
