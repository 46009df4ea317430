//! Signals that do not end the agent.

use anyhow::Result;
use nix::sys::signal::Signal;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::client::service;
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::tls_fixture::TlsFixture;

use crate::support::get_pid;

/// Waits until the log contains a text, with a call between two looks.
async fn logged(agent: &Agent, text: &str) -> Result<()> {
    within(text, async {
        while !agent.stderr()?.contains(text) {
            get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn other_signals_do_not_end_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPIPE, Signal::SIGHUP] {
        agent.signal(signal)?;
        get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    }
    logged(&agent, "ignored SIGHUP").await?;
    assert!(agent.stop().await?.success());
    Ok(())
}

/// The files are read although nothing has changed.
#[tokio::test]
async fn a_hangup_reads_the_certificates() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let launch = Launch::new()?.listen_privately().arguments(fixture.flags());
    let mut agent = launch.start().await?;
    agent.signal(Signal::SIGHUP)?;
    logged(&agent, "reading certificates on request").await?;
    assert!(agent.stop().await?.success());
    Ok(())
}

/// A signal that arrives before its handler is installed waits for it.
#[tokio::test]
async fn a_signal_during_the_start_is_handled_after_it() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let script = "kill -HUP $$; kill -USR1 $$; exec \"$0\" \"$@\"";
    let blocked = ["env", "--block-signal=HUP,USR1", "bash", "-c", script];
    let mut agent = Launch::new()?.listen_privately().wrapped(blocked).start().await?;
    logged(&agent, "ignored SIGHUP").await?;
    assert!(agent.stop().await?.success());
    Ok(())
}
