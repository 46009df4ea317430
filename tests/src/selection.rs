//! The exits that a stream selects, and so has to report.

use std::fmt;

use anyhow::Result;
use taskstats_proto::v1::{Scope, WatchExitsRequest};

use crate::cpus;
use crate::stitched_stream::ObservedExit;

/// The exits of some CPUs in some scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The CPU; `None` for all of them.
    cpu: Option<u32>,
    scope: Scope,
}

impl Selection {
    /// Everything.
    pub const EVERYTHING: Self = Self { cpu: None, scope: Scope::AllTasks };
    /// Ends of processes.
    pub const PROCESSES: Self = Self { cpu: None, scope: Scope::Processes };
    /// Ends of threads that do not end a process.
    pub const THREADS: Self = Self { cpu: None, scope: Scope::Threads };

    /// Everything on one CPU.
    #[must_use]
    pub fn of_cpu(cpu: u32) -> Self {
        Self { cpu: Some(cpu), ..Self::EVERYTHING }
    }

    /// Every kind: everything, by CPU, by scope, and by both.
    ///
    /// # Errors
    ///
    /// As in [`cpus::online`].
    pub fn kinds() -> Result<Vec<Self>> {
        let mut kinds = vec![Self::EVERYTHING, Self::PROCESSES, Self::THREADS];
        for cpu in cpus::online()? {
            kinds.push(Self::of_cpu(cpu));
            kinds.push(Self { cpu: Some(cpu), scope: Scope::Threads });
        }
        Ok(kinds)
    }

    /// Returns a request for it, from now on.
    #[must_use]
    pub fn request(&self) -> WatchExitsRequest {
        let cpumask = self.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
        WatchExitsRequest { cpumask, scope: self.scope.into(), ..WatchExitsRequest::default() }
    }

    /// Returns true if it includes exits of `cpu`.
    #[must_use]
    pub fn takes_cpu(&self, cpu: u32) -> bool {
        self.cpu.is_none_or(|own| own == cpu)
    }

    /// Returns true if it includes `exit`.
    #[must_use]
    pub fn takes(&self, exit: &ObservedExit) -> bool {
        let in_scope = match self.scope {
            Scope::Unspecified | Scope::AllTasks => true,
            Scope::Processes => exit.ends_process != Some(false),
            Scope::Threads => exit.ends_process != Some(true),
        };
        in_scope && self.takes_cpu(exit.cpu)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.map_or("all CPUs".to_owned(), |cpu| format!("CPU {cpu}"));
        write!(f, "{} of {cpu}", self.scope.as_str_name())
    }
}
