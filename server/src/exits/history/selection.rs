//! The selection of exits that a watcher requested.

use crate::taskstats::{Cpumask, Exit};

/// The effect of an exit on its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitKind {
    /// The process ended with it.
    ProcessEnded,
    /// The process continues.
    ProcessContinues,
    /// The kernel does not say: before v12, without a group record.
    Unknown,
}

impl ExitKind {
    /// Number of kinds.
    pub(in crate::exits) const COUNT: usize = 3;

    /// The kind with a number, as `as` gives it.
    pub(in crate::exits) fn from_number(number: u8) -> Option<Self> {
        let kinds = [Self::ProcessEnded, Self::ProcessContinues, Self::Unknown];
        kinds.get(usize::from(number)).copied()
    }
}

impl From<&Exit> for ExitKind {
    fn from(exit: &Exit) -> Self {
        match exit.last_in_process() {
            Some(true) => Self::ProcessEnded,
            Some(false) => Self::ProcessContinues,
            None => Self::Unknown,
        }
    }
}

/// Which exits of a CPU are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every task's.
    #[default]
    AllTasks,
    /// Exits that end a process, or may.
    Processes,
    /// Exits that do not, or may not.
    Threads,
}

impl Scope {
    pub(in crate::exits) fn includes(self, kind: ExitKind) -> bool {
        match self {
            Self::AllTasks => true,
            Self::Processes => kind != ExitKind::ProcessContinues,
            Self::Threads => kind != ExitKind::ProcessEnded,
        }
    }
}

/// The exits of some CPUs in some scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    cpus: Cpumask,
    scope: Scope,
    /// True if every exit is selected, so that single exits need no check.
    everything: bool,
}

impl Selection {
    /// Selects the exits of `cpus` in `scope`, on a machine with these possible CPUs.
    #[must_use]
    pub fn new(cpus: Cpumask, scope: Scope, possible: &Cpumask) -> Self {
        let everything = scope == Scope::AllTasks && possible.is_subset(&cpus);
        Self { cpus, scope, everything }
    }

    /// The CPUs.
    #[must_use]
    pub(crate) fn cpus(&self) -> &Cpumask {
        &self.cpus
    }

    /// Which of their exits.
    #[must_use]
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    pub(in crate::exits) fn everything(&self) -> bool {
        self.everything
    }

    pub(in crate::exits) fn includes(&self, cpu: u32, kind: ExitKind) -> bool {
        self.scope.includes(kind) && self.cpus.contains(cpu)
    }
}
