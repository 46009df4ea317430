//! The agent and its doctor in wrong namespaces or without privileges: both report the cause, and
//! the agent stays up.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taskstats_proto::v1::{GetNodeRequest, GetTgidRequest, WatchExitsRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::{connect, service};
use taskstats_tests::environments::{
    CHILD_NETWORK, CHILD_NETWORK_AS_USER, CHILD_PID, CHILD_PID_AND_PROC, CHILD_USER, USER,
    WITH_HIDDEN_PROCESSES, WITHOUT_NET_ADMIN, WITHOUT_PROC, Wrapper,
};
use taskstats_tests::health::{AGENT, SERVICE, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::{Peer, ProgramOutput};
use taskstats_tests::watch::Watch;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{NO_SUCH_TASK, get_pid, refusal_in, refused};

/// An environment, and what it lacks.
struct Environment {
    wrapper: Wrapper,
    /// The owner of the agent's files, if it is not root.
    user: Option<u32>,
    /// The names of the doctor's failed checks.
    bad: &'static [&'static str],
    /// The reason of a refused watch.
    reason: &'static str,
    /// A part of the advice for a unit: these agents have a service manager.
    fix: &'static str,
    /// True if running tasks can be queried.
    answers: bool,
}

const ENVIRONMENTS: [Environment; 6] = [
    Environment {
        wrapper: WITHOUT_NET_ADMIN,
        user: None,
        bad: &["CAP_NET_ADMIN", "self-test"],
        reason: "NOT_PERMITTED",
        fix: "AmbientCapabilities=",
        answers: false,
    },
    Environment {
        wrapper: CHILD_USER,
        user: None,
        bad: &["CAP_NET_ADMIN", "user namespace", "self-test"],
        reason: "NOT_PERMITTED|WRONG_NAMESPACE",
        fix: "PrivateUsers=",
        answers: false,
    },
    Environment {
        wrapper: CHILD_PID,
        user: None,
        bad: &["pid namespace", "self-test"],
        reason: "WRONG_NAMESPACE",
        fix: "PrivatePIDs=",
        answers: true,
    },
    Environment {
        wrapper: CHILD_PID_AND_PROC,
        user: None,
        bad: &["pid namespace", "self-test"],
        reason: "WRONG_NAMESPACE",
        fix: "PrivatePIDs=",
        answers: true,
    },
    Environment {
        wrapper: CHILD_NETWORK,
        user: None,
        bad: &["self-test"],
        reason: "NO_EXITS_ARRIVE|WRONG_NAMESPACE",
        fix: "PrivateNetwork=",
        answers: true,
    },
    Environment {
        wrapper: CHILD_NETWORK_AS_USER,
        user: Some(USER),
        bad: &["self-test"],
        reason: "NO_EXITS_ARRIVE",
        fix: "PrivateNetwork=",
        answers: true,
    },
];

/// Root as in a container that was granted one capability: it cannot become anyone else.
const ROOT_WITH_ONE: Wrapper =
    &["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin"];

/// The exit code of a doctor with a failed check, and of an agent with `--fail-fast`.
const FAILED: i32 = 1;

async fn doctor(wrapper: Wrapper, arguments: &[&str]) -> Result<ProgramOutput> {
    let program = binaries::taskstatsd()?;
    let program = program.to_str().context("a path that is not UTF-8")?;
    let mut words =
        wrapper.iter().copied().chain([program, "doctor"]).chain(arguments.iter().copied());
    let first = words.next().context("no program")?;
    Peer::run(first.as_ref(), words.collect::<Vec<_>>()).await
}

/// The names of the checks with this verdict.
fn with_verdict(report: &Value, verdict: &str) -> Result<Vec<String>> {
    let checks = report["checks"].as_array().context("no checks")?.iter();
    let such = checks.filter(|check| check["verdict"] == verdict);
    Ok(such.filter_map(|check| check["name"].as_str().map(str::to_owned)).collect())
}

/// The doctor reports a correct environment.
#[tokio::test]
async fn the_doctor_passes_on_this_machine() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let output = doctor(&[], &["-o", "json"]).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!(report["healthy"], true);
    assert_eq!(with_verdict(&report, "bad")?, [""; 0]);
    let output = doctor(&[], &[]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.lines().any(|line| line.starts_with("✓ self-test")), "{}", output.stdout);
    assert!(!output.stdout.contains('✗'), "{}", output.stdout);
    Ok(())
}

/// The doctor names what is wrong with each environment, with advice for each way to run the agent.
#[tokio::test]
async fn the_doctor_names_what_is_wrong() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for environment in ENVIRONMENTS {
        let output = doctor(environment.wrapper, &["-o", "json"]).await?;
        let context = format!("{:?}: {output:?}", environment.wrapper);
        assert_eq!((output.code, output.stderr.as_str()), (Some(FAILED), ""), "{context}");
        let report: Value = serde_json::from_str(&output.stdout)?;
        assert_eq!(report["healthy"], false, "{context}");
        let bad = with_verdict(&report, "bad")?;
        assert!(environment.bad.iter().all(|name| bad.iter().any(|bad| bad == name)), "{context}");
        for check in report["checks"].as_array().context("no checks")? {
            if check["verdict"] == "bad" {
                let reported = |environment| {
                    check["fix"][environment].as_str().is_some_and(|it| !it.is_empty())
                };
                assert!(["linux", "systemd", "kubernetes"].into_iter().all(reported), "{check}");
            }
        }
        let output = doctor(environment.wrapper, &[]).await?;
        assert_eq!(output.code, Some(FAILED), "{context}");
        for name in environment.bad {
            assert!(output.stdout.contains(&format!("✗ {name}")), "{context}");
        }
        assert!(output.stdout.contains("    Kubernetes: "), "{context}");
    }
    Ok(())
}

/// Root that may not change its user, as in a container, is not unprivileged, and the doctor says
/// so.
#[tokio::test]
async fn the_doctor_reports_root_that_cannot_be_left() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let output = doctor(ROOT_WITH_ONE, &["-o", "json"]).await?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    let warned = with_verdict(&report, "warning")?;
    assert!(warned.iter().any(|name| name == "sandbox"), "{output:?}");
    let named =
        ["user 0:0", "CAP_SETGID and CAP_SETUID"].iter().all(|it| output.stdout.contains(it));
    assert!(named, "{output:?}");
    Ok(())
}

/// Without procfs and sysfs the doctor says so, and runs the other checks.
#[tokio::test]
async fn the_doctor_needs_no_procfs() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let output = doctor(WITHOUT_PROC, &[]).await?;
    assert_eq!(output.code, Some(FAILED), "{output:?}");
    assert!(output.stdout.contains("✗ procfs and sysfs"), "{output:?}");
    assert!(output.stdout.contains("✓ CAP_NET_ADMIN"), "{output:?}");
    assert!(output.stdout.contains("✓ receive buffers"), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    Ok(())
}

/// A live process is not reported as gone because its threads are hidden.
#[tokio::test]
async fn hidden_threads_are_distinguished_from_an_ended_process() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(WITH_HIDDEN_PROCESSES).start().await?;
    let mut client = service(&agent.url()).await?;
    client
        .get_tgid(GetTgidRequest { tgid: 1, include_threads: false, ..Default::default() })
        .await?;
    let hidden = GetTgidRequest { tgid: 1, include_threads: true, ..Default::default() };
    let refusal = refused(client.get_tgid(hidden).await)?;
    assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal:?}");
    assert_eq!(refusal.reason.as_deref(), Some("HIDDEN_THREADS"), "{refusal:?}");
    assert!(refusal.message.contains("ProtectProc="), "{refusal:?}");
    let gone = GetTgidRequest { tgid: NO_SUCH_TASK, include_threads: true, ..Default::default() };
    assert_eq!(refused(client.get_tgid(gone).await)?.code, Code::NotFound);
    Ok(())
}

async fn start(environment: &Environment, arguments: &[&str]) -> Result<Agent> {
    launch(environment, arguments)?.start().await
}

fn launch(environment: &Environment, arguments: &[&str]) -> Result<Launch> {
    let launch =
        Launch::new()?.listen_privately().arguments(arguments).wrapped(environment.wrapper);
    match environment.user {
        Some(user) => launch.owned_by(user),
        None => Ok(launch),
    }
}

/// In each environment the agent serves, and every method reports why exits cannot be watched.
#[tokio::test]
async fn an_agent_in_a_wrong_namespace_serves_and_reports_it() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for environment in ENVIRONMENTS {
        let agent = start(&environment, &[]).await?;
        says_why(&agent, &environment)
            .await
            .with_context(|| format!("{:?}", environment.wrapper))?;
    }
    Ok(())
}

async fn says_why(agent: &Agent, environment: &Environment) -> Result<()> {
    let channel = connect(&agent.url()).await?;
    assert_eq!(health_of(&channel, AGENT).await?, ServingStatus::Serving);
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::NotServing);

    let refusal = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    let reason = refusal.reason.clone().context("no reason")?;
    ensure!(refusal.code == Code::FailedPrecondition, "{refusal:?}");
    ensure!(environment.reason.split('|').any(|expected| expected == reason), "{refusal:?}");
    ensure!(refusal.message.contains(environment.fix), "{refusal:?}");

    let mut client = service(&agent.url()).await?;
    // In a new pid namespace the agent is process 1.
    let request = taskstats_proto::v1::GetPidRequest { pid: 1, ..Default::default() };
    if environment.answers {
        get_pid(&mut client, 1).await?;
    } else {
        let refusal = refused(client.get_pid(request).await)?;
        ensure!(refusal.code == Code::FailedPrecondition, "{refusal:?}");
        ensure!(refusal.reason.as_deref() == Some("NOT_PERMITTED"), "{refusal:?}");
        ensure!(refusal.message.contains("EPERM"), "{refusal:?}");
        ensure!(refusal.message.contains("CAP_NET_ADMIN"), "{refusal:?}");
    }

    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let exits = node.exits.context("no exits status")?;
    ensure!(!exits.watchable && !exits.reason.is_empty(), "{exits:?}");
    ensure!(exits.fix.contains(environment.fix), "{exits:?}");
    let log = agent.stderr()?;
    let lines: Vec<_> = log.lines().filter(|line| line.contains(CANNOT)).collect();
    ensure!(lines.len() == 1, "logged {} times: {log}", lines.len());
    // One line has one text for one cause.
    let advice = lines[0].matches(environment.fix).count();
    ensure!(advice == 1, "advice is there {advice} times: {}", lines[0]);
    Ok(())
}

/// Returns the log line about exits that cannot be watched.
const CANNOT: &str = "exits cannot be watched";

/// With `--fail-fast` the agent exits with the reason.
#[tokio::test]
async fn an_agent_in_a_wrong_namespace_ends_with_fail_fast() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for environment in ENVIRONMENTS {
        let launch = launch(&environment, &["--fail-fast"])?;
        let ending = launch.run().await?;
        assert_eq!(ending.status.code(), Some(FAILED), "{:?}: {ending:?}", environment.wrapper);
        let reported = ending.stderr.lines().last().context("no message")?;
        assert!(
            reported.contains("--fail-fast") && reported.contains(environment.fix),
            "{reported}"
        );
        assert!(!launch.socket().exists(), "the socket was left behind");
    }
    Ok(())
}

/// `--always-watch` does not end the agent where it cannot listen.
#[tokio::test]
async fn always_watch_does_not_end_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = start(&ENVIRONMENTS[2], &["--always-watch", "all"]).await?;
    get_pid(&mut service(&agent.url()).await?, 1).await?;
    Ok(())
}
