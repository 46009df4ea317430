//! The harness itself: what the other tests compare the agent with must be right.

use anyhow::{Context, Result, bail};
use taskstats_tests::cpus;
use taskstats_tests::kernel::{Query, ReferenceListener, Socket, offset, port_ids_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::workload::Workload;

/// Exits made on each CPU.
const EXITS: usize = 1000;
/// An exit of another process at the wrong moment ends an inheritance: it takes more than one try.
const ATTEMPTS: usize = 100;

/// The reference hears every thread that a churn says it ended, and the churn itself, on its CPU.
#[tokio::test]
async fn the_witness_hears_what_a_churn_says_it_made() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for cpu in cpus::online()? {
        let mut reference = ReferenceListener::open(&cpus::online()?)?;
        let (cpu_text, exits) = (cpu.to_string(), EXITS.to_string());
        let churn = Workload::run(&["--cpu", &cpu_text, "churn-threads", &exits]).await?;
        assert_eq!(churn.output.trim(), exits);
        let mut heard = Vec::new();
        for exit in reference.take()? {
            if exit.tgid()? == churn.pid {
                heard.push((exit.cpu, exit.group.is_some()));
            }
        }
        let mut expected = vec![(cpu, false); EXITS];
        expected.push((cpu, true));
        assert_eq!(heard, expected);
    }
    Ok(())
}

/// A task's own record names it.
#[tokio::test]
async fn a_query_finds_its_task() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let workload = Workload::waiting(&["idle"]).await?;
    let record = Query::open()?.pid(workload.pid())?;
    assert_eq!(record.u32(offset::PID)?, workload.pid());
    assert_eq!(record.u32(offset::TGID)?, workload.pid());
    assert_eq!(record.comm()?, "workload");
    Ok(())
}

/// A socket is found under its address among those of its process, and nobody else gets it.
#[tokio::test]
async fn addresses_of_sockets_are_found() -> Result<()> {
    // Alone, because the next socket of this process gets an address that was given back.
    let _lock = MachineLock::exclusive()?;
    let socket = Socket::open()?;
    let port = socket.port_id()?;
    assert!(port_ids_of(std::process::id())?.contains(&port));
    assert!(Socket::open_at(port).is_err());
    drop(socket);
    assert_eq!(Socket::open_at(port)?.port_id()?, port);
    Ok(())
}

/// Whoever gets the address of a listener that was left behind inherits its exits, which is what the
/// tests of the agent's end look for.
#[tokio::test]
async fn a_listener_left_behind_would_be_found() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let cpu = cpus::online()?.first().context("no CPUs")?.to_string();
    for _ in 0..ATTEMPTS {
        let mut heir = heir_of_a_dead_listener(&cpu)?;
        Workload::run(&["--cpu", &cpu, "exit", "0"]).await?;
        // An overflow is a find too: something was sent here.
        let inherited = !matches!(heir.try_receive(), Ok(None));
        heir.deregister(&cpu)?;
        if inherited {
            return Ok(());
        }
    }
    bail!("nothing was inherited")
}

fn heir_of_a_dead_listener(cpu: &str) -> Result<Socket> {
    let mut dead = Socket::open()?;
    dead.register(cpu)?;
    let port = dead.port_id()?;
    drop(dead);
    Socket::open_at(port)
}
