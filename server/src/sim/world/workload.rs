//! The workload of a simulated machine: tasks that start and exit at random.

use std::time::Duration;

use super::{MAX_INITIAL_AGE, World};
use crate::sim::random::Random;
use crate::sim::tasks::NewTask;

/// One in so many groups whose leader exits first.
const LEADER_FIRST_ONE_IN: usize = 4;
/// One in so many exits that fail.
const FAILURE_ONE_IN: usize = 8;
/// The statuses of failures: exit codes 1, 2 and 127, SIGKILL, SIGSEGV with a core.
const FAILURE_STATUSES: [u32; 5] = [0x0100, 0x0200, 0x7f00, 9, 0x8b];

impl World {
    /// Ends a random task of the workload and starts others in its place.
    pub(super) fn end_random_task(&mut self) {
        let random = &mut self.random.workload;
        let Some(tgid) = self.workload.get(random.below(self.workload.len())).copied() else {
            return;
        };
        let live = self.tasks.live(tgid);
        let leader_first = live.len() > 1 && random.below(LEADER_FIRST_ONE_IN) == 0;
        let Some(pid) = (if leader_first { live.first() } else { live.last() }) else { return };
        let status = match random.below(FAILURE_ONE_IN) {
            0 => FAILURE_STATUSES[random.below(FAILURE_STATUSES.len())],
            _ => 0,
        };
        let cpu = u32::try_from(random.below(self.cpus.len())).unwrap_or(0);
        self.exit(*pid, cpu, status);
        self.populate(false);
    }

    /// Starts processes until the workload has its number of tasks. With `aged`, they started
    /// before now.
    pub(super) fn populate(&mut self, aged: bool) {
        // Twice the mean less one is the maximum of a uniform distribution that starts at 1.
        let most_threads = 2 * self.spec.threads - 1;
        while self.tasks.count() <= self.spec.tasks as usize {
            let mut new_task = NewTask::random(&mut self.random.workload, self.now);
            if aged {
                let age = MAX_INITIAL_AGE / (1 + self.random.workload.one_to(1000));
                new_task.started = self.now.saturating_sub(age);
            }
            let Some(tgid) = self.tasks.spawn(new_task, Some(self.workload.len())) else { return };
            self.workload.push(tgid);
            for _ in 1..self.random.workload.one_to(most_threads) {
                let seed = self.random.workload.next();
                self.tasks.spawn_thread(tgid, NewTask { seed, ..new_task });
            }
        }
    }
}

impl NewTask {
    /// Returns a task of a random program.
    pub(super) fn random(random: &mut Random, started: Duration) -> Self {
        let seed = random.next();
        Self { program: random.below(usize::MAX), seed, started }
    }
}
