//! Signals: SIGTERM and SIGINT end the process, SIGHUP reloads, and others are ignored.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that request an orderly end.
#[derive(Debug)]
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The error of sigaction(2), or of the runtime.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of the signals.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals of the serving agent.
#[derive(Debug)]
pub(crate) struct AgentSignals {
    /// The signals that request an orderly end.
    pub(crate) end: EndSignals,
    /// SIGHUP, which requests that files are read again.
    pub(crate) reload: Signal,
    /// Signals without a meaning, whose default action would end the process.
    _ignored: [Signal; 2],
}

impl AgentSignals {
    /// Installs the handlers, and unblocks what [`block_agent_signals`] has blocked. A signal that
    /// arrived in between is delivered now.
    ///
    /// # Errors
    /// The error of `sigaction(2)`, of `pthread_sigmask(3)`, or of the runtime.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = Self {
            end: EndSignals::install()?,
            reload: signal(SignalKind::hangup())?,
            _ignored: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        };
        agent_signals().thread_unblock()?;
        Ok(signals)
    }
}

/// Blocks the signals of the serving agent in the calling thread, until their handlers are installed. The
/// default action of each would end the process.
///
/// # Errors
/// The error of `pthread_sigmask(3)`.
pub(crate) fn block_agent_signals() -> io::Result<()> {
    Ok(agent_signals().thread_block()?)
}

fn agent_signals() -> SigSet {
    use Number::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    SigSet::from_iter([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])
}
