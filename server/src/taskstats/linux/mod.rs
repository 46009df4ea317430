//! The running kernel.

mod broker;
mod listener;
mod namespaces;
mod privileged;
mod query;
mod raw;
mod self_test;
mod system;

use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(crate) use self::namespaces::Placement;
pub(crate) use self::raw::RawListener;

use self::listener::LinuxListener;
use self::privileged::{Direct, Privileged};
use super::delay_accounting::DelaySwitch;
use super::reply::{QUERY, failed, stats_in_reply};
use super::{
    BrokerError, Cpumask, DelayAccounting, ExitListener, KeptSocket, Kernel, KernelError, KnownBad,
    Namespace, SelfTest, Stats, TaskId,
};
use crate::bpf::FilterSet;

/// The running kernel, through generic netlink.
///
/// ```no_run
/// use taskstatsd::taskstats::{Kernel, LinuxKernel, TaskId};
///
/// let kernel = LinuxKernel::new(8 << 20)?;
/// let init = kernel.query(TaskId::Pid(1))?;
/// println!("version {}", init.version);
/// # Ok::<(), taskstatsd::taskstats::KernelError>(())
/// ```
#[derive(Debug)]
pub struct LinuxKernel {
    /// The requests that need `CAP_NET_ADMIN`.
    privileged: Arc<dyn Privileged>,
    possible_cpus: Cpumask,
    delay_accounting: DelaySwitch,
    receive_buffer: usize,
    release: String,
    /// The reason not to query the kernel.
    bug: Option<&'static KnownBad>,
    /// The namespace of this process in which exits do not arrive. It does not change while the
    /// process lives.
    wrong_namespace: Option<Namespace>,
    /// Filters that attribute exits to cgroups.
    filters: Option<Arc<FilterSet>>,
}

impl LinuxKernel {
    /// Creates the interface without querying the kernel. The first query fails if the kernel lacks
    /// taskstats.
    ///
    /// `receive_buffer` is the size of each CPU's receive buffer, in bytes.
    ///
    /// # Errors
    /// The error of reading the possible CPUs from sysfs.
    pub fn new(receive_buffer: usize) -> Result<Self, KernelError> {
        Self::of_release(system::release(), receive_buffer)
    }

    /// Creates the interface for a kernel of a given release, which decides whether it may be
    /// queried.
    ///
    /// # Errors
    /// See [`LinuxKernel::new`].
    pub fn of_release(release: String, receive_buffer: usize) -> Result<Self, KernelError> {
        let possible_cpus = system::possible_cpus()?;
        Ok(Self {
            privileged: Arc::new(Direct::new(&possible_cpus, receive_buffer, None)),
            possible_cpus,
            delay_accounting: DelaySwitch::new(&release),
            receive_buffer,
            bug: KnownBad::of(&release),
            release,
            wrong_namespace: namespaces::wrong_namespace(),
            filters: None,
        })
    }

    /// Attributes exits to cgroups by filters.
    #[must_use]
    pub(crate) fn attributing(self, filters: FilterSet) -> Self {
        let filters = Arc::new(filters);
        let direct = self.direct(Some(Arc::clone(&filters)));
        Self { privileged: Arc::new(direct), filters: Some(filters), ..self }
    }

    /// Moves all requests that need `CAP_NET_ADMIN` into a process of their own, which `confine` restricts
    /// before it makes any. This process must have no other thread, and needs no capability afterwards.
    ///
    /// Returns the end of a pipe, too, which reads as closed when that process has ended.
    ///
    /// # Errors
    /// [`BrokerError`]; no process is left then.
    pub(crate) fn separate(
        self,
        confine: impl FnOnce() -> Result<(), String>,
    ) -> Result<(Self, OwnedFd), BrokerError> {
        let (client, ended) = broker::start(&self.direct(self.filters.clone()), confine)?;
        Ok((Self { privileged: Arc::new(client), ..self }, ended))
    }

    fn direct(&self, filters: Option<Arc<FilterSet>>) -> Direct {
        Direct::new(&self.possible_cpus, self.receive_buffer, filters)
    }

    /// Allows queries even if the kernel is known to panic on them.
    #[must_use]
    pub(crate) fn ignoring_known_bugs(self) -> Self {
        Self { bug: None, ..self }
    }

    /// Returns the kernel's release, as `uname -r` prints it.
    #[must_use]
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// Looks up the generic netlink family of taskstats, without sending it a request.
    ///
    /// # Errors
    /// [`KernelError::NoFamily`] if it does not exist; [`KernelError::KnownBadKernel`] if the
    /// kernel must not be queried.
    pub(crate) fn find_family(&self) -> Result<(), KernelError> {
        self.privileged()?;
        privileged::find_family().map(drop)
    }

    /// Returns the requests, unless the kernel must not receive any.
    fn privileged(&self) -> Result<&Arc<dyn Privileged>, KernelError> {
        match self.bug {
            Some(bug) => Err(KernelError::KnownBadKernel { release: self.release.clone(), bug }),
            None => Ok(&self.privileged),
        }
    }

    /// Opens a listener with slots for this kernel's longest message, which has the records of a
    /// task and a group.
    fn new_listener(&self) -> Result<LinuxListener, KernelError> {
        let privileged = self.privileged()?;
        if let Some(namespace) = self.wrong_namespace {
            return Err(KernelError::WrongNamespace { namespace });
        }
        let one_record = self.reply(TaskId::Pid(std::process::id()))?.len();
        let (privileged, filters) = (Arc::clone(privileged), self.filters.clone());
        LinuxListener::new(privileged, filters, self.receive_buffer, 2 * one_record)
    }

    /// Returns the kernel's message with the statistics of a live task or group, headers included.
    ///
    /// # Errors
    /// See [`Kernel::query`].
    pub(crate) fn reply(&self, id: TaskId) -> Result<Vec<u8>, KernelError> {
        let mut message = Vec::new();
        self.privileged()?.query(&[id], &mut |id, reply| {
            message.extend_from_slice(reply);
            stats_in_reply(reply, id).map(drop)
        })?;
        Ok(message)
    }

    /// Opens a listener without any CPU, which passes the kernel's messages undecoded.
    ///
    /// # Errors
    /// See [`Kernel::listen`].
    pub(crate) fn listen_raw(&self) -> Result<RawListener, KernelError> {
        self.new_listener().map(RawListener::new)
    }
}

impl Kernel for LinuxKernel {
    fn query(&self, id: TaskId) -> Result<Stats, KernelError> {
        let mut stats = Err(KernelError::BadReply { operation: QUERY });
        self.privileged()?.query(&[id], &mut |id, reply| {
            stats = stats_in_reply(reply, id);
            Ok(())
        })?;
        stats
    }

    fn is_remote(&self) -> bool {
        self.privileged.is_remote()
    }

    fn answers_at_once(&self) -> bool {
        self.privileged.is_free()
    }

    fn query_many(&self, ids: &[TaskId]) -> Result<Vec<Result<Stats, KernelError>>, KernelError> {
        let mut results = Vec::with_capacity(ids.len());
        self.privileged()?.query(ids, &mut |id, reply| {
            results.push(match stats_in_reply(reply, id) {
                Err(error) if !matches!(error, KernelError::NoSuchTask(_)) => return Err(error),
                result => result,
            });
            Ok(())
        })?;
        Ok(results)
    }

    fn threads(&self, tgid: u32) -> Result<Vec<u32>, KernelError> {
        system::threads(tgid)
    }

    fn possible_cpus(&self) -> &Cpumask {
        &self.possible_cpus
    }

    fn online_cpus(&self) -> Result<Cpumask, KernelError> {
        system::online_cpus()
    }

    fn delay_accounting(&self) -> DelayAccounting {
        self.delay_accounting.read()
    }

    fn enable_delay_accounting(&self) -> Result<(), KernelError> {
        self.delay_accounting.turn_on()
    }

    fn self_test(&self, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
        self_test::run(&mut self.new_listener()?, cpus)
    }

    fn listen(&self) -> Result<Box<dyn ExitListener>, KernelError> {
        Ok(Box::new(self.new_listener()?))
    }

    fn adopt(&self, sockets: Vec<KeptSocket>) -> Result<Box<dyn ExitListener>, KernelError> {
        let mut listener = self.new_listener()?;
        for socket in sockets {
            listener.adopt(socket)?;
        }
        Ok(Box::new(listener))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: &str = "6.12.79-101.147.amzn2023.x86_64";
    const RECEIVE_BUFFER: usize = 64 << 10;

    /// Nothing is sent to a kernel that may panic, not even the lookup of its family.
    #[test]
    fn a_known_bad_kernel_is_not_queried() {
        let kernel = LinuxKernel::of_release(BAD.to_owned(), RECEIVE_BUFFER).unwrap();
        let cpus = Cpumask::from_iter([0]);
        let refusals = [
            kernel.query(TaskId::Pid(1)).err(),
            kernel.query_many(&[TaskId::Tgid(1)]).err(),
            kernel.find_family().err(),
            kernel.self_test(&cpus).err(),
            kernel.check_exits().err(),
            kernel.listen().err(),
            kernel.adopt(Vec::new()).err(),
        ];
        for refusal in refusals {
            let error = refusal.unwrap();
            assert!(matches!(error, KernelError::KnownBadKernel { .. }), "{error}");
            let text = error.to_string();
            for named in [BAD, "coroot-node-agent/issues/376"] {
                assert!(text.contains(named), "{text}");
            }
        }
    }

    #[test]
    fn a_known_bad_kernel_is_queried_if_the_operator_allows_it() {
        let kernel = LinuxKernel::of_release(BAD.to_owned(), RECEIVE_BUFFER).unwrap();
        let kernel = kernel.ignoring_known_bugs();
        assert!(kernel.query(TaskId::Pid(std::process::id())).is_ok());
        assert!(kernel.check_exits().is_ok());
    }

    /// Each online CPU sends the exit of the task that ended on it.
    #[test]
    fn the_self_test_receives_an_exit_of_every_cpu() {
        let kernel = LinuxKernel::new(RECEIVE_BUFFER).unwrap();
        let online = kernel.online_cpus().unwrap();
        let tested = kernel.self_test(&online).unwrap();
        assert_eq!(tested, SelfTest { delivered: online, ..SelfTest::default() });
    }
}
