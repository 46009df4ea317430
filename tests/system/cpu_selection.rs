//! Streams of some CPUs.

use anyhow::{Context, Result};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::cpus;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::{Watch, pid_of};
use taskstats_tests::workload::Workload;

use crate::support::on_cpus;

/// An exit carries the CPU that it happened on, and only watchers of that CPU see it.
#[tokio::test]
async fn each_cpu_has_its_own_exits() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut pids = Vec::new();
    let mut watches = Vec::new();
    for cpu in cpus::online()? {
        watches.push((cpu, Watch::open(&channel, on_cpus(&cpu.to_string())).await?));
    }
    let mut everything = Watch::everything(&channel).await?;
    // Twice, so that each watcher has read beyond exits that it must not have received.
    for cpu in cpus::online()?.repeat(2) {
        let pinned = Workload::run(&["--cpu", &cpu.to_string(), "exit", "0"]).await?;
        assert_eq!(everything.exit_of(pinned.pid).await?.cpu, cpu);
        pids.push((cpu, pinned.pid));
    }
    for (cpu, watch) in &mut watches {
        assert_eq!(watch.started().cpumask, cpu.to_string());
        let own: Vec<_> = pids.iter().filter(|(on, _)| on == cpu).map(|(_, pid)| *pid).collect();
        watch.exit_of(*own.last().context("no exits")?).await?;
        assert!(watch.seen().iter().all(|event| event.cpu == *cpu));
        let made = |pid: &u32| pids.iter().any(|(_, made)| made == pid);
        let seen: Vec<_> = watch.seen().iter().filter_map(pid_of).filter(made).collect();
        assert_eq!(seen, own);
    }
    Ok(())
}

/// Whatever form a cpumask is written in, the stream names it in the canonical one.
#[tokio::test]
async fn cpumasks_are_shown_in_canonical_form() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let all = cpus::possible_list()?;
    let last = all.rsplit(['-', ',']).next().context("no CPUs")?.to_owned();
    for (written, canonical) in [
        ("", all.as_str()),
        ("all", &all),
        ("0-N", &all),
        ("N", &last),
        ("1,0", "0-1"),
        (" 0 , 1 ", "0-1"),
        ("0,,1", "0-1"),
        ("0-1:1/2", "0"),
        ("0,0,0", "0"),
    ] {
        let watch = Watch::open(&channel, on_cpus(written)).await?;
        assert_eq!(watch.started().cpumask, canonical, "{written:?}");
    }
    Ok(())
}
