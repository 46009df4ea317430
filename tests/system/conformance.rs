//! One set of rules for two kernels: the one of this machine, and the simulated one. The same calls
//! have the same results.

mod exits;
mod host;
mod listeners;
mod queries;

use anyhow::Result;
use taskstats_tests::machine_lock::MachineLock;

use self::host::{Linux, Sim};

/// Makes a test of each rule for each kernel. On the kernel of this machine, a rule about all listeners
/// needs an exclusive lock: the agents of other tests listen too.
macro_rules! both_kernels {
    ($($module:ident, $lock:ident: $($rule:ident),+;)+) => {
        mod linux {
            use super::*;
            $($(
                #[tokio::test]
                async fn $rule() -> Result<()> {
                    let _lock = MachineLock::$lock()?;
                    $module::$rule::<Linux>().await
                }
            )+)+
        }

        mod sim {
            use super::*;
            $($(
                #[tokio::test]
                async fn $rule() -> Result<()> {
                    $module::$rule::<Sim>().await
                }
            )+)+
        }
    };
}

both_kernels! {
    queries, shared:
        a_live_task_is_found,
        no_task_has_an_unknown_id,
        an_ended_task_is_not_found,
        a_group_is_found_by_any_of_its_tasks,
        the_threads_of_a_group_are_listed,
        an_unknown_id_does_not_affect_others,
        a_live_group_counts_its_dead;
    exits, shared:
        a_process_of_one_task_ends_without_a_group_record,
        the_last_of_several_tasks_has_the_group_record,
        the_group_record_counts_the_dead,
        every_message_says_its_version,
        exits_get_the_next_number_of_their_cpu,
        every_listener_receives_every_exit,
        a_full_queue_drops_and_counts_exactly;
    exits, exclusive:
        no_number_is_used_without_a_listener;
    listeners, shared:
        an_impossible_cpu_is_refused,
        a_closed_listener_receives_nothing,
        a_dropped_listener_receives_nothing,
        a_dead_listener_is_removed_at_the_next_exit;
}
