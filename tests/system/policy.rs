//! Access rules.

use anyhow::Result;
use taskstats_proto::v1::{GetNodeRequest, GetPidRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::{connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::health::{AGENT, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::ProgramOutput;
use taskstats_tests::user::User;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{get_pid, refusal_in, refused};

/// The exit code of `taskstatsctl` without permission.
const NOT_LET: i32 = 3;
/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Health checks: many times as many as the rate allows while the slowest machine makes them.
const MANY_CHECKS: usize = 200;
/// A command for each role but `details`.
const COMMANDS: [(&str, &[&str]); 4] = [
    ("query", &["get", "pid", "1"]),
    ("watch", &["watch", "--number", "1", "--last", "1"]),
    ("node", &["node"]),
    ("node", &["health"]),
];

async fn run(user: User, agent: &Agent, arguments: &[&str]) -> Result<ProgramOutput> {
    let url = agent.url();
    let all = [&["--target", &url], arguments].concat();
    user.run(&binaries::taskstatsctl()?, &all).await
}

/// Each user may do what its rules allow together, and nothing else; the error names the user and
/// the missing role.
#[tokio::test]
async fn users_may_do_what_their_rules_allow() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let rules = [
        "--allow=uid:0=watch",
        "--allow=uid:65001=query",
        "--allow=uid:65002=watch,query",
        "--allow=gid:65003=node",
        "--allow=gid:65003=watch",
    ];
    let agent = Agent::start_with([&rules[..], &["--always-watch", "all"]].concat()).await?;
    agent.allow_all_users()?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    watch.exit_of(Workload::run(&["exit", "0"]).await?.pid).await?;
    for (uid, gid, roles) in [
        (65001, 65001, &["query"][..]),
        (65002, 65002, &["query", "watch"]),
        (65003, 65003, &["node", "watch"]),
        (65002, 65003, &["query", "watch", "node"]),
        (65004, 65001, &[]),
    ] {
        for (role, command) in COMMANDS {
            let output = run(User { uid, gid }, &agent, command).await?;
            if roles.contains(&role) {
                assert_eq!(output.code, Some(0), "{uid}:{gid} {command:?}: {output:?}");
                continue;
            }
            assert_eq!(output.code, Some(NOT_LET), "{uid}:{gid} {command:?}: {output:?}");
            for part in [format!("uid {uid}"), format!("role {role}")] {
                assert!(output.stderr.contains(&part), "{uid}:{gid} {command:?}: {output:?}");
            }
        }
    }
    Ok(())
}

/// Health and reflection need the role of the node, also for other clients.
#[tokio::test]
async fn health_and_reflection_need_the_role_of_the_node() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (rule, expected) in [("uid:0=query", Code::PermissionDenied), ("uid:0=node", Code::Ok)] {
        let agent = Agent::start_with(["--allow", rule]).await?;
        let channel = connect(&agent.url()).await?;
        let mut health = HealthClient::new(channel.clone());
        let checked = health.check(HealthCheckRequest::default()).await;
        assert_eq!(checked.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{rule}");
        let mut reflection =
            tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
                channel,
            );
        let asked = reflection.server_reflection_info(tokio_stream::empty()).await;
        assert_eq!(asked.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{rule}");
    }
    Ok(())
}

/// Without rules every client that can connect may do everything. With a rule, a port without
/// identities admits no client, and the error names the missing identity; a rule can admit it by
/// name.
#[tokio::test]
async fn a_caller_without_identity_gets_an_error() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let open = || {
        Ok::<_, anyhow::Error>(Launch::new()?.listen_privately().arguments([
            "--insecure",
            "--listen",
            "tcp://127.0.0.1:0",
        ]))
    };
    let pid = std::process::id();
    let agent = open()?.start().await?;
    get_pid(&mut service(&agent.listening_on("tcp://")?).await?, pid).await?;
    let agent = open()?.arguments(["--allow", "uid:0=query"]).start().await?;
    get_pid(&mut service(&agent.url()).await?, pid).await?;
    let mut client = service(&agent.listening_on("tcp://")?).await?;
    let refusal = refused(client.get_pid(GetPidRequest { pid, ..Default::default() }).await)?;
    assert_eq!(refusal.code, Code::Unauthenticated, "{refusal:?}");
    for part in ["127.0.0.1", "GetPid", "role query"] {
        assert!(refusal.message.contains(part), "{refusal:?}");
    }
    let agent = open()?.arguments(["--allow", "anonymous=node"]).start().await?;
    let mut client = service(&agent.listening_on("tcp://")?).await?;
    client.get_node(GetNodeRequest {}).await?;
    let refusal = refused(client.get_pid(GetPidRequest { pid, ..Default::default() }).await)?;
    assert_eq!(refusal.code, Code::Unauthenticated, "{refusal:?}");
    Ok(())
}

/// Denied calls are counted and have a rate limit: they cost as much as allowed ones.
#[tokio::test]
async fn denied_calls_are_counted_and_have_a_rate() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let allow = ["--allow", "uid:0=node", "--max-call-rate", "2"];
    let agent = Agent::start_with(allow).await?;
    let mut client = service(&agent.url()).await?;
    let mut denied = 0;
    let too_fast = async {
        loop {
            let refusal =
                refused(client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await)?;
            match refusal.code {
                Code::PermissionDenied => denied += 1,
                code => return anyhow::Ok(code),
            }
        }
    };
    assert_eq!(within("a refusal", too_fast).await??, Code::ResourceExhausted);
    let counted = async {
        loop {
            if let Ok(node) = client.get_node(GetNodeRequest {}).await {
                return node.into_inner().counters.map(|counters| counters.denied);
            }
        }
    };
    assert_eq!(within("a response to GetNode", counted).await?, Some(denied));
    assert_eq!(agent.stderr()?.matches("denied: ").count(), 1, "one line in ten seconds");
    Ok(())
}

/// Denied health checks have a rate limit as well; allowed ones have none.
#[tokio::test]
async fn denied_health_checks_have_a_rate() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (role, wanted) in [("query", Code::ResourceExhausted), ("node", Code::Ok)] {
        let allow = format!("uid:0={role}");
        let agent = Agent::start_with(["--allow", &allow, "--max-call-rate", "2"]).await?;
        let channel = connect(&agent.url()).await?;
        let too_fast = async {
            for _ in 0..MANY_CHECKS {
                match health_of(&channel, AGENT).await {
                    Ok(_) => {}
                    Err(error) => match refusal_in::<()>(Err(error))?.code {
                        Code::PermissionDenied => {}
                        code => return anyhow::Ok(code),
                    },
                }
            }
            Ok(Code::Ok)
        };
        assert_eq!(within("all checks", too_fast).await??, wanted, "{role}");
    }
    Ok(())
}

/// Rules that mean nothing, or several things, are errors of usage.
#[tokio::test]
async fn rules_that_cannot_be_followed_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (arguments, hint) in [
        (["--allow", "uid:0"], "PRINCIPAL=role"),
        (["--allow", "uid:0=root"], "query, watch, node or details"),
        (["--allow", "*=query"], "ambiguous"),
        (["--allow", "uid:root=query"], "uid:1000"),
        (["--allow", "uid:0=details"], "--redact"),
        (["--redact", "pid"], "comm, uid"),
    ] {
        let ending = Launch::new()?.listen_privately().arguments(arguments).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{arguments:?}: {}", ending.stderr);
        assert!(ending.stderr.contains(hint), "{arguments:?}: {}", ending.stderr);
    }
    Ok(())
}

/// The variable accepts several rules.
#[tokio::test]
async fn rules_can_stand_in_the_environment() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let allow = "TASKSTATSD_ALLOW=uid:65001=query,watch;uid:0=node";
    let agent = Launch::new()?.listen_privately().wrapped(["env", allow]).start().await?;
    let mut client = service(&agent.url()).await?;
    client.get_node(GetNodeRequest {}).await?;
    let refusal = refused(client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await)?;
    assert_eq!(refusal.code, Code::PermissionDenied, "{refusal:?}");
    Ok(())
}
