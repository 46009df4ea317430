//! Descriptors: how many this process may have, what needs them, and who goes without where they do not
//! suffice.
//!
//! Connections do. Each caller can come again; an exit that nobody listened to does not, and a process's
//! threads cannot be told without a look into `/proc`.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::advice::Cause;
use crate::config::Config;
use crate::listen::MAX_HANDSHAKES;
use crate::taskstats::Kernel;

/// Has an entry for each descriptor of this process.
const OPEN: &str = "/proc/self/fd";
/// What is opened at an agent's start, beside listeners: the event loop and its signals (6), the sysctl
/// of delay accounting and who watches it (2), questions for the kernel (1), the connection to a service
/// manager (1), certificates' folders (1); and as many again, for what other releases open.
const STARTUP_FDS: usize = 22;
/// A listener, and the lock beside its file.
const FDS_PER_LISTENER: usize = 2;
/// What is kept for later: the reader's poller (2), a self-test (4), the socket, the folder and a file
/// of each of the four slow calls (12), certificates on the way (3), the hand-over's file (2), a connection
/// and a handshake that were taken to be refused (2); and some for what nobody thought of.
const RESERVED_FDS: usize = 32;
/// The part of what is left for those who do not stay, if there is too little: one of so many. Handshakes
/// last for milliseconds, connections for days.
const PASSING_PART: usize = 4;
/// The part of that for connections that are told that there are too many: one of so many.
const OVERFLOW_PART: usize = 4;
/// With fewer, the agent could not even be asked what is wrong with it.
const MIN_CONNECTIONS: usize = 4;

/// What needs descriptors, in an agent that is about to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdDemand {
    /// What is open.
    pub open: usize,
    /// Sockets that are to be opened to listen to CPUs.
    pub cpus: usize,
    /// Connections at once.
    pub connections: usize,
    /// Those beyond, at once, which are told so.
    pub overflow: usize,
    /// TLS handshakes at once; none without TLS.
    pub handshakes: usize,
}

/// How many connections and handshakes there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdPlan {
    /// Connections.
    pub connections: usize,
    /// Those beyond, which are told so. Others are closed at once.
    pub overflow: usize,
    /// TLS handshakes.
    pub handshakes: usize,
}

/// Descriptors that do not suffice, and what follows from it. It is shown as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdShortage {
    demand: FdDemand,
    limit: usize,
    /// What there is enough for.
    pub plan: FdPlan,
}

impl FdDemand {
    /// How many an agent that is not started yet would have open at its start, where it has the
    /// descriptors of this process, with so many listeners.
    ///
    /// # Errors
    /// As [`count_open`].
    pub fn at_start(listeners: usize) -> io::Result<usize> {
        Ok(count_open()? + STARTUP_FDS + listeners.saturating_mul(FDS_PER_LISTENER))
    }

    /// All of them together.
    #[must_use]
    pub fn all(&self) -> usize {
        let callers = [self.connections, self.overflow, self.handshakes];
        callers.into_iter().fold(self.own(), usize::saturating_add)
    }

    /// Sees what `limit` descriptors suffice for.
    ///
    /// # Errors
    /// They do not suffice for all.
    pub fn within(self, limit: usize) -> Result<FdPlan, FdShortage> {
        let Self { connections, overflow, handshakes, .. } = self;
        if self.all() <= limit {
            return Ok(FdPlan { connections, overflow, handshakes });
        }
        let room = limit.saturating_sub(self.own());
        let passing = room.saturating_sub(connections).max(room / PASSING_PART);
        let told = overflow.min(passing / OVERFLOW_PART);
        let handshakes = handshakes.min((passing - told).max(1));
        let overflow = overflow.min(told.max(passing.saturating_sub(handshakes)));
        let left = room.saturating_sub(handshakes + overflow).max(MIN_CONNECTIONS);
        let plan = FdPlan { connections: connections.min(left), overflow, handshakes };
        Err(FdShortage { demand: self, limit, plan })
    }

    /// What the agent needs beside its callers.
    fn own(&self) -> usize {
        self.open.saturating_add(RESERVED_FDS).saturating_add(self.cpus)
    }
}

impl fmt::Display for FdShortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { demand, limit, plan } = self;
        let FdDemand { connections, overflow, handshakes, cpus, .. } = demand;
        let all = demand.all();
        write!(formatter, "{limit} files may be open, and up to {all} are needed: ")?;
        write!(formatter, "{connections} for connections (--max-connections)")?;
        write!(formatter, ", {overflow} for those beyond")?;
        if *handshakes > 0 {
            write!(formatter, ", {handshakes} for TLS handshakes")?;
        }
        let rest = demand.own() - cpus;
        write!(formatter, ", {cpus} for CPUs to listen to and {rest} for the rest; ")?;
        write!(formatter, "so that those are left, {} connections", plan.connections)?;
        if *handshakes > 0 {
            write!(formatter, " and {} handshakes", plan.handshakes)?;
        }
        formatter.write_str(" are taken at once")?;
        if demand.own() > *limit {
            formatter.write_str(", and not all CPUs can be listened to")?;
        }
        Ok(())
    }
}

/// Raises the limit of this process to the highest that it may have. It is lower by default for programs
/// that wait by select(2), which knows no descriptor above 1,023; the agent has no such wait.
///
/// # Errors
/// What the system said; the limit stays.
pub fn raise_fd_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// How many this process may have.
///
/// # Errors
/// What the system said.
fn soft_limit() -> io::Result<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft).unwrap_or(usize::MAX))
}

/// How many it could raise that to.
///
/// # Errors
/// What the system said.
pub fn hard_limit() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// How many it has.
///
/// # Errors
/// What procfs said.
fn count_open() -> io::Result<usize> {
    // One of them is the folder.
    Ok(fs::read_dir(OPEN)?.count().saturating_sub(1))
}

/// Lowers how many connections are allowed to what there are descriptors for, once all is open that is open
/// at the start, and returns how many handshakes there are some for. Warns if these are fewer than were
/// wanted. `stored` sockets of an earlier run listen to CPUs already.
///
/// # Errors
/// The error of procfs or of getrlimit(2).
pub fn fit_to_fd_limit(
    config: &mut Config,
    kernel: &dyn Kernel,
    stored: usize,
) -> io::Result<usize> {
    // A simulated kernel's sockets are memory.
    let cpus = if kernel.simulated().is_some() { 0 } else { kernel.possible_cpus().len() };
    let demand = FdDemand {
        open: count_open()?,
        cpus: cpus.saturating_sub(stored),
        connections: config.limits.connections,
        overflow: config.limits.overflow,
        handshakes: if config.tls.is_some() { MAX_HANDSHAKES } else { 0 },
    };
    let plan = demand.within(soft_limit()?).unwrap_or_else(|shortage| {
        tracing::warn!(fix = Cause::Descriptors.advice_here(), "{shortage}");
        shortage.plan
    });
    let FdPlan { connections, overflow, handshakes } = plan;
    (config.limits.connections, config.limits.overflow) = (connections, overflow);
    Ok(handshakes)
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
    fn some_are_told_that_there_are_too_many() {
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
    fn who_has_enough_is_left_alone() {
        assert_eq!(DEMAND.all(), 1300);
        assert_eq!(DEMAND.within(1300), Ok(of(1000, 200)));
        assert!(DEMAND.within(1299).is_err());
        let plaintext = FdDemand { handshakes: 0, ..DEMAND };
        assert_eq!(plaintext.within(1100), Ok(of(1000, 0)));
    }

    #[test]
    fn connections_give_way_to_everything_else() {
        assert_eq!(plan(DEMAND, 1299), of(999, 200));
        assert_eq!(plan(DEMAND, 500), of(300, 100));
        assert_eq!(plan(FdDemand { handshakes: 0, ..DEMAND }, 500), of(400, 0));
        // Few connections leave the rest to handshakes.
        assert_eq!(plan(FdDemand { connections: 100, ..DEMAND }, 350), of(100, 150));
    }

    #[test]
    fn some_can_always_come_in() {
        for limit in [0, 1, 100, 104] {
            assert_eq!(plan(DEMAND, limit), of(MIN_CONNECTIONS, 1), "{limit}");
        }
        let one = FdDemand { connections: 1, handshakes: 0, ..DEMAND };
        assert_eq!(plan(one, 0), of(1, 0));
    }

    #[test]
    fn a_shortage_is_told_with_its_numbers() {
        let said = DEMAND.within(500).unwrap_err().to_string();
        for part in
            ["500 files", "1300 are", "1000 for", "200 for TLS", "50 for CPUs", "50 for the"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.contains("300 connections and 100 handshakes are taken"), "{said}");
        assert!(!said.contains("not all CPUs"), "{said}");
        let said = FdDemand { handshakes: 0, ..DEMAND }.within(99).unwrap_err().to_string();
        assert!(!said.contains("handshakes") && said.contains("not all CPUs"), "{said}");
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = count_open().unwrap();
        let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some meanwhile.
        assert!(count_open().unwrap() > before, "{} more", files.len());
        assert!(soft_limit().unwrap() <= hard_limit().unwrap());
    }

    proptest! {
        /// What is kept back is there, wherever there is room for it at all.
        #[test]
        fn what_is_promised_fits(
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
            let promised = demand.own() + plan.connections + plan.overflow + plan.handshakes;
            prop_assert!(promised <= limit.max(demand.own() + MIN_CONNECTIONS + 1));
            // And nothing lies idle that somebody wanted.
            let all = FdPlan { connections, overflow, handshakes };
            prop_assert!(plan == all || promised >= limit);
        }
    }
}
