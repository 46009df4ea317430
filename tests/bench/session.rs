//! One variant of one round: the observer of a load.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::Pid;
use taskstats_tests::tls_fixture::TlsFixture;

use crate::args::Pace;
use crate::host::Host;
use crate::load::Made;
use crate::measure::Bench;
use crate::procfs;
use crate::tally::Count;
use crate::worker::Worker;

/// The observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observer {
    /// A listener that only counts.
    Peer(Pace),
    /// The agent, with so many watchers of everything.
    Agent {
        /// The number of observers.
        watchers: u32,
    },
}

/// An observer at work. The counting process ends before the agent that it counts for.
#[derive(Debug)]
pub(crate) struct Session {
    counter: Worker,
    agent: Option<Host>,
}

/// The exits that an observer received, and their cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// The result of the load.
    pub(crate) made: Made,
    /// CPU time that the observer took meanwhile, counting clients aside.
    pub(crate) cpu: Duration,
    /// The counts.
    pub(crate) count: Count,
}

/// A load to look on, as arguments of [`crate::args::LoadArgs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// For how long, in seconds.
    pub(crate) seconds: u32,
    /// Exits a second; `None` for as many as can be.
    pub(crate) rate: Option<u32>,
    /// True if exits carry a timestamp.
    pub(crate) stamp: bool,
}

/// The time that an observer has after a load: several times the longest delay between an exit and
/// its delivery. The CPU time of an idle observer meanwhile is a thousandth of a run.
const AFTERMATH: Duration = Duration::from_millis(100);

impl Observer {
    /// The name in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Peer(pace) => pace.name(),
            Self::Agent { .. } => "taskstatsd",
        }
    }
}

impl Load {
    /// Runs the load to its end.
    pub(crate) fn run(self) -> Result<Made> {
        self.finish(self.start()?)
    }

    fn start(self) -> Result<Worker> {
        let mut arguments =
            vec!["load".to_owned(), "--seconds".to_owned(), self.seconds.to_string()];
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        stamp_if(self.stamp, &mut arguments);
        Worker::start(&arguments)
    }

    fn finish(self, running: Worker) -> Result<Made> {
        running.finish(Duration::from_secs(u64::from(self.seconds)))
    }
}

impl Session {
    /// Starts an observer, and waits until the kernel reports to it.
    pub(crate) fn start(bench: &Bench, observer: Observer, stamp: bool) -> Result<Self> {
        match observer {
            Observer::Peer(pace) => {
                let mut arguments =
                    vec!["listen".to_owned(), "--pace".to_owned(), pace.name().to_owned()];
                stamp_if(stamp, &mut arguments);
                Ok(Self { counter: Worker::start_counting(&arguments)?, agent: None })
            }
            Observer::Agent { watchers } => {
                Self::watching(Host::start(bench.agent(), &[])?, watchers, stamp)
            }
        }
    }

    /// Starts the watchers of an agent, and waits until the kernel reports to it.
    pub(crate) fn watching(agent: Host, watchers: u32, stamp: bool) -> Result<Self> {
        let mut arguments = vec!["watch".to_owned(), "--address".to_owned()];
        arguments.extend([
            agent.address().to_owned(),
            "--watchers".to_owned(),
            watchers.to_string(),
        ]);
        stamp_if(stamp, &mut arguments);
        Ok(Self { counter: Worker::start_counting(&arguments)?, agent: Some(agent) })
    }

    /// Starts a watcher with mutual TLS, and waits until the kernel reports exits to its agent.
    pub(crate) fn watching_securely(agent: Host, fixture: &TlsFixture) -> Result<Self> {
        let address = agent.port()?.to_owned();
        let files = fixture.files.directory().display().to_string();
        let arguments = ["watch", "--address", &address, "--certificates", &files];
        let counter = Worker::start_counting(&arguments.map(str::to_owned))?;
        Ok(Self { counter, agent: Some(agent) })
    }

    /// Runs one load under one observer.
    pub(crate) fn observe(bench: &Bench, observer: Observer, load: Load) -> Result<Observed> {
        Self::observe_while(bench, observer, load, |_| Ok(()))
    }

    /// Runs one load under one observer, and does something to the observer meanwhile.
    pub(crate) fn observe_while(
        bench: &Bench,
        observer: Observer,
        load: Load,
        meanwhile: impl FnOnce(Pid) -> Result<()>,
    ) -> Result<Observed> {
        Self::start(bench, observer, load.stamp)?.measure(load, meanwhile)
    }

    /// Runs one load, and does something to the observer meanwhile.
    pub(crate) fn measure(
        self,
        load: Load,
        meanwhile: impl FnOnce(Pid) -> Result<()>,
    ) -> Result<Observed> {
        let before = procfs::cpu_time(self.pid()?)?;
        let running = load.start()?;
        meanwhile(self.pid()?)?;
        let made = load.finish(running)?;
        thread::sleep(AFTERMATH);
        let cpu = procfs::cpu_time(self.pid()?)?.saturating_sub(before);
        Ok(Observed { made, cpu, count: self.finish()? })
    }

    /// The process whose cost is in question.
    pub(crate) fn pid(&self) -> Result<Pid> {
        match &self.agent {
            Some(agent) => Ok(agent.pid()),
            None => self.counter.pid(),
        }
    }

    /// Ends the observer, and returns its counts.
    pub(crate) fn finish(self) -> Result<Count> {
        self.counter.finish(Duration::ZERO)
    }
}

/// The name of a load's rate in figures.
pub(crate) fn name_of(rate: Option<u32>) -> String {
    rate.map_or_else(|| "full speed".to_owned(), |rate| format!("{rate} exits/s"))
}

fn stamp_if(stamp: bool, arguments: &mut Vec<String>) {
    if stamp {
        arguments.push("--stamp".to_owned());
    }
}
