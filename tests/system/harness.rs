//! Tests of the harness itself.

use std::env;
use std::path::Path;
use std::process::{Stdio, abort};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, raise};
use taskstats_tests::agent::Launch;
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::environments::{AS_USER, USER};
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::kernel::{Query, ReferenceListener, Socket, offset, port_ids_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::workload::Workload;
use tokio::process::Command;

/// Exits made on each CPU.
const EXITS: usize = 1000;
/// An unrelated exit between two steps removes the registration, so it may need several attempts.
const ATTEMPTS: usize = 100;
/// Selects how the test process of `a_failed_test_leaves_no_process_behind` ends.
const END: &str = "TASKSTATS_TESTS_END";

/// The reference listener receives every thread that a churn ended, and the churn itself, on its
/// CPU.
#[tokio::test]
async fn the_reference_listener_receives_every_exit_of_a_churn() -> Result<()> {
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

/// The record of a task has its ids and its name.
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

/// A socket is found by its port id among those of its process, and no other socket gets the same
/// port id.
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

/// A socket that gets the port id of a dead listener inherits its exits. The tests of the agent's
/// end rely on this.
#[tokio::test]
async fn a_registration_left_behind_is_found() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let cpu = cpus::online()?.first().context("no CPUs")?.to_string();
    for _ in 0..ATTEMPTS {
        let mut successor = heir_of_a_dead_listener(&cpu)?;
        Workload::run(&["--cpu", &cpu, "exit", "0"]).await?;
        // An overflow is a find too: something was sent here.
        let inherited = !matches!(successor.try_receive(), Ok(None));
        successor.deregister(&cpu)?;
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

/// No child of a test process outlives it, whether the test returns an error, panics, aborts or is
/// killed, and although the agent runs as another user.
#[tokio::test]
async fn a_failed_test_leaves_no_process_behind() -> Result<()> {
    if let Ok(end) = env::var(END) {
        return fail_with_children(&end).await;
    }
    let _lock = MachineLock::shared()?;
    for end in ["error", "panic", "abort", "kill"] {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--exact", "harness::a_failed_test_leaves_no_process_behind", "--nocapture"]);
        let output = GuardedChild::run(command.env(END, end).stdin(Stdio::null()));
        let output = within("a test to fail", output).await??;
        let stdout = String::from_utf8(output.stdout)?;
        ensure!(!output.status.success(), "{end}: {stdout}");
        let pids = stdout.lines().find_map(|line| line.split_once("children: "));
        let (_, pids) = pids.with_context(|| format!("{end}: no children in {stdout}"))?;
        within("the children to end", async {
            while pids.split(' ').any(runs) {
                tokio::task::yield_now().await;
            }
        })
        .await?;
    }
    Ok(())
}

/// Starts an agent of another user and a workload, prints their ids, and ends as `end` says.
async fn fail_with_children(end: &str) -> Result<()> {
    let launch = Launch::new()?.owned_by(USER)?.listen_privately().wrapped(AS_USER);
    let agent = launch.start().await?;
    let workload = Workload::waiting(&["idle"]).await?;
    println!("children: {} {}", agent.pid()?, workload.pid());
    match end {
        "error" => bail!("as the test wants it"),
        "panic" => {
            assert_ne!(end, "panic", "as the test wants it");
            Ok(())
        }
        "abort" => abort(),
        _ => Ok(raise(Signal::SIGKILL)?),
    }
}

fn runs(pid: &str) -> bool {
    // A zombie whose parent has not reaped it has ended, too: it has no executable.
    Path::new("/proc").join(pid).join("exe").read_link().is_ok()
}
