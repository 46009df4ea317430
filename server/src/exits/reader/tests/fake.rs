//! A kernel that can only be listened to, as a test has it.

use std::fmt;

use super::*;

type Listen = dyn Fn() -> Box<dyn ExitListener> + Send + Sync;
type Accounting = dyn Fn() -> DelayAccounting + Send + Sync;

/// A kernel without tasks, whose exits come from its listeners.
pub(super) struct FakeKernel {
    pub(super) possible: Cpumask,
    pub(super) listen: Box<Listen>,
    pub(super) delay_accounting: Box<Accounting>,
}

impl fmt::Debug for FakeKernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FakeKernel")
            .field("possible", &self.possible)
            .finish_non_exhaustive()
    }
}

impl Kernel for FakeKernel {
    fn query(&self, id: TaskId) -> Result<Stats, KernelError> {
        Err(KernelError::NoSuchTask(id))
    }

    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError> {
        Err(KernelError::NoSuchTask(TaskId::Tgid(tgid)))
    }

    fn possible_cpus(&self) -> &Cpumask {
        &self.possible
    }

    fn online_cpus(&self) -> Result<Cpumask, KernelError> {
        Ok(self.possible.clone())
    }

    fn delay_accounting(&self) -> DelayAccounting {
        (self.delay_accounting)()
    }

    fn enable_delay_accounting(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn self_test(&self, _cpus: &Cpumask) -> Result<SelfTest, KernelError> {
        Ok(SelfTest::default())
    }

    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
        Ok((self.listen)())
    }

    fn adopt(&self, _sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
        self.listen()
    }
}
