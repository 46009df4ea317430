//! Rules for reported exits.

use anyhow::{Context, Result, bail};
use taskstatsd::taskstats::Exit;

use super::host::{Heard, Host, listen, take};
use super::queries::{DEAD_SWITCHES_SINCE, cpu_waits, sleeps};

/// Threads of a process.
const THREADS: usize = 20;
/// Exits that overflow the smallest receive buffer many times.
const MANY: usize = 300;
/// The smallest receive buffer that the agent accepts.
const SMALL_BUFFER: usize = 4096;
/// A task that moves to another CPU while it exits gets the number of that CPU, and other processes
/// may listen to the same CPU. So on a real machine one of several runs must follow a rule about
/// numbers.
const ATTEMPTS: usize = 50;

pub(super) async fn a_process_of_one_task_ends_without_a_group_record<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = listen(&host)?;
    let process = host.start(0).await?;
    let pid = H::pid_of(&process);
    host.end(process).await?;
    let heard = take(&mut *listener)?;
    let exits = heard.of(pid);
    assert_eq!(exits.len(), 1, "{exits:?}");
    assert_eq!((exits[0].cpu, exits[0].process.as_ref()), (host.cpu(), None));
    assert_eq!(exits[0].last_in_process(), Some(true));
    assert_eq!(exits[0].task.exit_status, Some(0));
    Ok(())
}

pub(super) async fn the_last_of_several_tasks_has_the_group_record<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = listen(&host)?;
    let process = host.start(THREADS).await?;
    let tgid = H::pid_of(&process);
    host.end(process).await?;
    let heard = take(&mut *listener)?;
    let exits = heard.of(tgid);
    let (last, others) = exits.split_last().context("no exit was reported")?;
    assert_eq!(others.len(), THREADS);
    for exit in others {
        assert_eq!((exit.process.as_ref(), exit.last_in_process()), (None, Some(false)));
    }
    let group = last.process.as_ref().context("no group record")?;
    assert_eq!((group.identity.tgid, group.identity.pid), (Some(tgid), None));
    assert_eq!((last.task.identity.pid, last.last_in_process()), (Some(tgid), Some(true)));
    let Some(counted) = group.context_switches else {
        assert!(group.version < DEAD_SWITCHES_SINCE, "no context switches: {group:?}");
        return Ok(());
    };
    let mut all = 0;
    for exit in &exits {
        all += sleeps(&exit.task)?;
    }
    let least = sleeps(&last.task)? + THREADS as u64;
    assert!((least..=all).contains(&counted.voluntary), "{counted:?} not {least} to {all}");
    assert!(group.cpu.user_us.is_some() && group.cpu.system_us.is_some(), "{:?}", group.cpu);
    Ok(())
}

/// The sums of a group include its dead tasks, and are no more than the sums of all tasks.
pub(super) async fn the_group_record_counts_the_dead<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = listen(&host)?;
    let tgid = host.churn(THREADS).await?;
    let heard = take(&mut *listener)?;
    let exits = heard.of(tgid);
    let last = exits.last().context("no exit was reported")?;
    let group = last.process.as_ref().context("no group record")?;
    // A thread that was never switched from has run for no time, as the kernel counts.
    let run = |exit: &Exit| exit.task.cpu.run_virtual_ns.unwrap_or(0);
    let (all, sum) = (exits.iter().map(|exit| run(exit)).sum(), group.cpu.run_virtual_ns);
    assert!(sum >= Some(run(last)) && sum <= Some(all), "{} <= {sum:?} <= {all}", run(last));
    let mut all = 0;
    for exit in &exits {
        all += cpu_waits(&exit.task)?;
    }
    let (own, sum) = (cpu_waits(&last.task)?, cpu_waits(group)?);
    assert!(own < sum && sum <= all, "{own} < {sum} <= {all}");
    Ok(())
}

pub(super) async fn every_message_says_its_version<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = listen(&host)?;
    host.churn(THREADS).await?;
    let (heard, version) = (take(&mut *listener)?, host.kernel().version()?);
    assert!(heard.exits.len() > THREADS);
    for exit in &heard.exits {
        let group = exit.process.as_ref().map_or(version, |group| group.version);
        assert_eq!((exit.task.version, group), (version, version));
        assert!(exit.task.unknown_tail.is_empty());
    }
    Ok(())
}

pub(super) async fn exits_get_the_next_number_of_their_cpu<H: Host>() -> Result<()> {
    let host = H::open()?;
    let mut listener = listen(&host)?;
    for _ in 0..ATTEMPTS {
        let tgid = host.churn(THREADS).await?;
        let heard = take(&mut *listener)?;
        assert_eq!((heard.of(tgid).len(), heard.dropped.len()), (THREADS + 1, 0));
        let numbers = heard.exits.iter().map(|exit| exit.kernel_sequence);
        let mut steps = numbers.clone().zip(numbers.skip(1));
        if steps.all(|(number, next)| next == number.wrapping_add(1)) {
            return Ok(());
        }
    }
    bail!("numbers never followed each other")
}

pub(super) async fn no_number_is_used_without_a_listener<H: Host>() -> Result<()> {
    let host = H::open()?;
    for _ in 0..ATTEMPTS {
        let mut listener = listen(&host)?;
        host.churn(0).await?;
        let mut before = Heard::default();
        listener.close(host.cpu(), &mut before);
        host.churn(THREADS).await?;
        listener.open(host.cpu())?;
        host.churn(0).await?;
        let after = take(&mut *listener)?;
        let last = before.exits.last().context("no exit was reported")?.kernel_sequence;
        let next = after.exits.first().context("no exit was reported")?.kernel_sequence;
        if next == last.wrapping_add(1) {
            return Ok(());
        }
    }
    bail!("numbers were used without a listener in each run")
}

pub(super) async fn every_listener_receives_every_exit<H: Host>() -> Result<()> {
    let host = H::open()?;
    let (mut first, mut second) = (listen(&host)?, listen(&host)?);
    let tgid = host.churn(THREADS).await?;
    let (first, second) = (take(&mut *first)?, take(&mut *second)?);
    assert_eq!(first.of(tgid), second.of(tgid));
    assert_eq!(first.of(tgid).len(), THREADS + 1);
    Ok(())
}

/// The numbers from the first message to one after the overflow are those received and those
/// dropped; the drops are reported once, after the queue is empty.
pub(super) async fn a_full_queue_drops_and_counts_exactly<H: Host>() -> Result<()> {
    let host = H::with_receive_buffer(SMALL_BUFFER)?;
    for _ in 0..ATTEMPTS {
        let mut listener = listen(&host)?;
        host.churn(MANY).await?;
        let overflowed = take(&mut *listener)?;
        host.churn(0).await?;
        let after = take(&mut *listener)?;
        let (received, dropped) = (overflowed.exits.len() as u64, &overflowed.dropped);
        assert_eq!(dropped.len(), 1, "not reported once: {dropped:?}");
        assert!(received > 0 && received + dropped[0] > MANY as u64, "{received} {dropped:?}");
        let first = overflowed.exits.first().context("no exit was reported")?.kernel_sequence;
        let next = after.exits.first().context("the queue received nothing")?.kernel_sequence;
        if u64::from(next.wrapping_sub(first)) == received + dropped[0] {
            return Ok(());
        }
    }
    bail!("received and dropped were never what was sent")
}
