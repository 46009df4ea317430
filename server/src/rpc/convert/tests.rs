//! The encoder of the exit path and the conversion have the same result.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use taskstats_proto::v1;

use super::{task_stats, timestamp};
use crate::bpf::Hierarchy;
use crate::encode::arbitrary::{accounting, exit, number, time};
use crate::encode::encode_event;
use crate::taskstats::{
    Attribution, DelayAccounting, DelayCoverage, Exit, Owner, ProcessTotals, Stats,
};

/// The parts of an event beside the exit.
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
        cgroup_id: exit.owner.map(|owner| owner.cgroup.id),
        hierarchy: exit.owner.map_or(v1::Hierarchy::Unspecified, hierarchy_of).into(),
        attribution: exit.owner.map_or(v1::Attribution::Unspecified, attribution_of).into(),
        exit_time: exit.ended_at.map(timestamp),
        process_totals: exit
            .process_totals
            .as_deref()
            .map(|totals| Box::new(process_totals(totals))),
    }
}

/// The messages of the sums are those of a task's statistics.
fn process_totals(totals: &ProcessTotals) -> v1::ProcessTotals {
    let stats = Stats {
        cpu: totals.cpu.clone(),
        faults: totals.faults,
        memory: totals.memory,
        io: totals.io,
        context_switches: totals.context_switches,
        delays: totals.delays,
        ..Stats::default()
    };
    let v1::TaskStats { cpu, faults, memory, io, context_switches, delays, .. } =
        task_stats(&stats, DelayCoverage::Unknown);
    let ProcessTotals { threads, complete, .. } = *totals;
    v1::ProcessTotals { cpu, faults, memory, io, context_switches, delays, threads, complete }
}

fn hierarchy_of(owner: Owner) -> v1::Hierarchy {
    match owner.cgroup.hierarchy {
        Hierarchy::V2 => v1::Hierarchy::V2,
        Hierarchy::V1 => v1::Hierarchy::V1,
    }
}

fn attribution_of(owner: Owner) -> v1::Attribution {
    match owner.attribution {
        Attribution::Exact => v1::Attribution::Exact,
        Attribution::Observed => v1::Attribution::Observed,
        Attribution::Inferred => v1::Attribution::Inferred,
        Attribution::Guess => v1::Attribution::Guess,
    }
}

proptest! {
    #[test]
    fn encoded_exits_are_the_converted_ones(
        exits in vec((exit(), (number(), time(), accounting())), 1..4),
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
