//! Rules for registrations of listeners.

use anyhow::Result;
use taskstatsd::taskstats::KernelError;

use super::host::{Heard, Host, listen, take};

pub(super) async fn an_impossible_cpu_is_refused<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = host.kernel().listen()?;
    let impossible = host.kernel().possible_cpus().last().map_or(0, |last| last + 1);
    let refused = listener.open(impossible);
    assert!(matches!(refused, Err(KernelError::System { .. })), "{refused:?}");
    listener.open(host.cpu())?;
    let tgid = host.churn(1).await?;
    assert_eq!(take(&mut *listener)?.of(tgid).len(), 2, "nothing was left behind");
    Ok(())
}

pub(super) async fn a_closed_listener_receives_nothing<H: Host>() -> Result<()> {
    let host = H::open()?;
    let (mut closing, mut staying) = (listen(&host)?, listen(&host)?);
    let before = host.churn(1).await?;
    let mut heard = Heard::default();
    closing.close(host.cpu(), &mut heard);
    assert_eq!(heard.of(before).len(), 2, "its queue was delivered");
    let after = host.churn(1).await?;
    assert!(!take(&mut *closing)?.any());
    assert_eq!(take(&mut *staying)?.of(after).len(), 2);
    closing.open(host.cpu())?;
    let again = host.churn(1).await?;
    assert_eq!(take(&mut *closing)?.of(again).len(), 2, "it can begin again");
    Ok(())
}

pub(super) async fn a_dropped_listener_receives_nothing<H: Host>() -> Result<()> {
    let host = H::open()?;
    let staying = listen(&host)?;
    drop(listen(&host)?);
    drop(staying);
    // A socket that gets one of the addresses next receives nothing.
    let mut next = host.kernel().listen()?;
    host.churn(1).await?;
    assert!(!take(&mut *next)?.any());
    Ok(())
}

pub(super) async fn a_dead_listener_is_removed_at_the_next_exit<H: Host>() -> Result<()> {
    let host = H::open()?;
    assert!(!host.heir_receives_after_an_exit().await?);
    Ok(())
}
