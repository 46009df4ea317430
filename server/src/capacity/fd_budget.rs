//! The file descriptors that the agent needs, and how connections share those that are left.
//!
//! Where descriptors are few, connections and handshakes get fewer, and everything else gets all it needs: a
//! client can connect again, but an exit on a CPU without a socket is lost, and the threads of a process
//! cannot be listed without opening `/proc`.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::advice::Cause;
use crate::config::Config;
use crate::listen::MAX_HANDSHAKES;
use crate::security::Limits;
use crate::taskstats::Kernel;

/// Has an entry for each open file descriptor of this process (`proc(5)`).
const OPEN_FDS: &str = "/proc/self/fd";
/// Descriptors that are opened at the start, beside listeners: the event loop and its signals (6), the sysctl
/// of delay accounting and its watch (2), the socket for queries (1), the connection to a service manager
/// (1), the watch of certificates (1); and as many again, as a reserve.
const STARTUP_FDS: usize = 22;
/// A listener, and the lock beside its file.
const FDS_PER_LISTENER: usize = 2;
/// Descriptors that are opened later: the reader's poller (2), a self-test (4), a socket, a directory and a file
/// for each of the four slow calls (12), certificates that are read (3), the file of the hand-over (2), a
/// connection and a handshake that are accepted to be rejected (2); and a reserve.
const RESERVED_FDS: usize = 32;
/// One part in so many of too few descriptors is for connections that do not stay: handshakes last for
/// milliseconds, connections for days.
const TRANSIENT_PART: usize = 4;
/// One part in so many of those is for connections that receive an error.
const OVERFLOW_PART: usize = 4;
/// With fewer connections, an operator could not query what is wrong with the agent.
const MIN_CONNECTIONS: usize = 4;

/// The file descriptors that an agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FdDemand {
    /// Descriptors that are open.
    pub(crate) open: usize,
    /// Sockets that are opened later to listen to CPUs.
    pub(crate) cpus: usize,
    /// Concurrent connections.
    pub(crate) connections: usize,
    /// Concurrent connections beyond the limit that receive an error.
    pub(crate) overflow: usize,
    /// Concurrent TLS handshakes; 0 without TLS.
    pub(crate) handshakes: usize,
}

/// The numbers of connections and handshakes for which there are descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FdPlan {
    /// Concurrent connections.
    pub(crate) connections: usize,
    /// Concurrent connections beyond the limit that receive an error. Further ones are closed at once.
    pub(crate) overflow: usize,
    /// Concurrent TLS handshakes.
    pub(crate) handshakes: usize,
}

/// A limit of open files below the demand. Its display names the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FdShortage {
    demand: FdDemand,
    limit: usize,
    /// The numbers for which the limit suffices.
    pub(crate) plan: FdPlan,
}

impl FdDemand {
    /// Estimates the open descriptors of an agent that is not started yet, with so many listeners and the
    /// descriptors of this process.
    ///
    /// # Errors
    /// The error of procfs.
    pub(crate) fn at_start(listeners: usize) -> io::Result<usize> {
        Ok(count_open()? + STARTUP_FDS + listeners.saturating_mul(FDS_PER_LISTENER))
    }

    /// Returns the sum.
    pub(crate) fn all(&self) -> usize {
        let clients = [self.connections, self.overflow, self.handshakes];
        clients.into_iter().fold(self.own(), usize::saturating_add)
    }

    /// Fits the demand to a limit of open files.
    ///
    /// # Errors
    /// The shortage, if the limit is below the demand.
    pub(crate) fn within(self, limit: usize) -> Result<FdPlan, FdShortage> {
        let Self { connections, overflow, handshakes, .. } = self;
        if self.all() <= limit {
            return Ok(FdPlan { connections, overflow, handshakes });
        }
        let left = limit.saturating_sub(self.own());
        let transient = left.saturating_sub(connections).max(left / TRANSIENT_PART);
        let least_overflow = overflow.min(transient / OVERFLOW_PART);
        let handshakes = handshakes.min((transient - least_overflow).max(1));
        let overflow = overflow.min(least_overflow.max(transient.saturating_sub(handshakes)));
        let lasting = left.saturating_sub(handshakes + overflow).max(MIN_CONNECTIONS);
        let plan = FdPlan { connections: connections.min(lasting), overflow, handshakes };
        Err(FdShortage { demand: self, limit, plan })
    }

    /// Returns the demand of the agent apart from its clients.
    fn own(&self) -> usize {
        self.open.saturating_add(RESERVED_FDS).saturating_add(self.cpus)
    }
}

impl fmt::Display for FdShortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { demand, limit, plan } = self;
        let FdDemand { connections, overflow, handshakes, cpus, .. } = demand;
        let all = demand.all();
        write!(formatter, "the limit of open files is {limit}, and up to {all} are needed: ")?;
        write!(formatter, "{connections} for connections (--max-connections)")?;
        write!(formatter, ", {overflow} for excess connections")?;
        if *handshakes > 0 {
            write!(formatter, ", {handshakes} for TLS handshakes")?;
        }
        let rest = demand.own() - cpus;
        write!(formatter, ", {cpus} for CPUs and {rest} for the rest; ")?;
        write!(formatter, "allowing {} connections", plan.connections)?;
        if *handshakes > 0 {
            write!(formatter, " and {} handshakes", plan.handshakes)?;
        }
        if demand.own() > *limit {
            formatter.write_str("; not all CPUs can be watched")?;
        }
        Ok(())
    }
}

/// Lowers the limits of connections in `config` to the file descriptors that are left after binding, and
/// returns the number of handshakes. Logs a warning if it lowers one. `stored` sockets of the previous run
/// listen to CPUs already.
///
/// # Errors
/// The error of procfs or of getrlimit(2).
pub(crate) fn fit_to_fd_limit(
    config: &mut Config,
    kernel: &dyn Kernel,
    stored: usize,
) -> io::Result<usize> {
    // The sockets of a simulated kernel are memory.
    let cpus = if kernel.simulated().is_some() { 0 } else { kernel.possible_cpus().len() };
    let demand = FdDemand {
        open: count_open()?,
        cpus: cpus.saturating_sub(stored),
        connections: config.limits.connections,
        overflow: config.limits.overflow,
        handshakes: if config.tls.is_some() { max_handshakes(&config.limits) } else { 0 },
    };
    let plan = demand.within(soft_limit()?).unwrap_or_else(|shortage| {
        tracing::warn!(fix = Cause::Descriptors.advice_here(), "{shortage}");
        shortage.plan
    });
    let FdPlan { connections, overflow, handshakes } = plan;
    (config.limits.connections, config.limits.overflow) = (connections, overflow);
    Ok(handshakes)
}

/// Returns the limit of concurrent TLS handshakes: no more than connections can follow from them.
pub(crate) fn max_handshakes(limits: &Limits) -> usize {
    limits.connections.saturating_add(limits.overflow).min(MAX_HANDSHAKES)
}

/// Raises the limit of open files to the hard limit. The soft limit is lower by default for programs that
/// use select(2), which cannot wait for descriptors above 1,023; the agent does not use it.
///
/// # Errors
/// The error of setrlimit(2); the limit is unchanged then.
pub(crate) fn raise_fd_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Returns the hard limit of open files, to which the agent raises its soft limit.
///
/// # Errors
/// The error of getrlimit(2).
pub(crate) fn hard_limit() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

fn soft_limit() -> io::Result<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft).unwrap_or(usize::MAX))
}

fn count_open() -> io::Result<usize> {
    // One of them is the directory itself.
    Ok(fs::read_dir(OPEN_FDS)?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;

    const DEMAND: FdDemand =
        FdDemand { open: 18, cpus: 50, connections: 1000, overflow: 0, handshakes: 200 };

    fn plan(demand: FdDemand, limit: usize) -> FdPlan {
        demand.within(limit).unwrap_or_else(|shortage| shortage.plan)
    }

    fn of(connections: usize, handshakes: usize) -> FdPlan {
        FdPlan { connections, overflow: 0, handshakes }
    }

    #[test]
    fn excess_connections_get_a_part() {
        let demand = FdDemand { overflow: 64, ..DEMAND };
        assert_eq!(demand.all(), 1364);
        let plan_of = |limit| {
            let FdPlan { connections, overflow, handshakes } = plan(demand, limit);
            (connections, overflow, handshakes)
        };
        assert_eq!(plan_of(1364), (1000, 64, 200));
        assert_eq!(plan_of(500), (300, 25, 75));
        assert_eq!(plan_of(110), (8, 0, 2));
    }

    #[test]
    fn a_sufficient_limit_changes_nothing() {
        assert_eq!(DEMAND.all(), 1300);
        assert_eq!(DEMAND.within(1300), Ok(of(1000, 200)));
        assert!(DEMAND.within(1299).is_err());
        let plaintext = FdDemand { handshakes: 0, ..DEMAND };
        assert_eq!(plaintext.within(1100), Ok(of(1000, 0)));
    }

    #[test]
    fn connections_are_lowered_first() {
        assert_eq!(plan(DEMAND, 1299), of(999, 200));
        assert_eq!(plan(DEMAND, 500), of(300, 100));
        assert_eq!(plan(FdDemand { handshakes: 0, ..DEMAND }, 500), of(400, 0));
        // A small number of connections leaves the rest to handshakes.
        assert_eq!(plan(FdDemand { connections: 100, ..DEMAND }, 350), of(100, 150));
    }

    #[test]
    fn some_connections_are_always_allowed() {
        for limit in [0, 1, 100, 104] {
            assert_eq!(plan(DEMAND, limit), of(MIN_CONNECTIONS, 1), "{limit}");
        }
        let one = FdDemand { connections: 1, handshakes: 0, ..DEMAND };
        assert_eq!(plan(one, 0), of(1, 0));
    }

    #[test]
    fn a_shortage_names_its_numbers() {
        let message = DEMAND.within(500).unwrap_err().to_string();
        for part in
            ["files is 500", "1300 are", "1000 for", "200 for TLS", "50 for CPUs", "50 for the"]
        {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(message.contains("allowing 300 connections and 100 handshakes"), "{message}");
        assert!(!message.contains("not all CPUs"), "{message}");
        let message = FdDemand { handshakes: 0, ..DEMAND }.within(99).unwrap_err().to_string();
        assert!(!message.contains("handshakes") && message.contains("not all CPUs"), "{message}");
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = count_open().unwrap();
        let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some meanwhile.
        assert!(count_open().unwrap() > before, "{} more", files.len());
        assert!(soft_limit().unwrap() <= hard_limit().unwrap());
    }

    proptest! {
        /// The reserve is left wherever the limit allows it.
        #[test]
        fn a_plan_fits_to_the_limit(
            open in 0_usize..200,
            cpus in 0_usize..9000,
            connections in 1_usize..1 << 20,
            overflow in 0_usize..100,
            handshakes in 0_usize..300,
            limit in 0_usize..1 << 21,
        ) {
            let demand = FdDemand { open, cpus, connections, overflow, handshakes };
            let plan = plan(demand, limit);
            prop_assert!((1..=connections).contains(&plan.connections));
            prop_assert!(plan.handshakes <= handshakes && (plan.handshakes > 0 || handshakes == 0));
            let planned = demand.own() + plan.connections + plan.overflow + plan.handshakes;
            prop_assert!(planned <= limit.max(demand.own() + MIN_CONNECTIONS + 1));
            // No descriptor is unused that a client could have.
            let all = FdPlan { connections, overflow, handshakes };
            prop_assert!(plan == all || planned >= limit);
        }
    }
}
