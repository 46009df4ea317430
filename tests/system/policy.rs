//! Who may do what.

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

/// What `taskstatsctl` ends with when it may not do something.
const NOT_LET: i32 = 3;
/// What a command that was called in the wrong way ends with.
const USAGE: i32 = 2;
/// Checks, many times as many as the slowest machine is allowed while it makes them.
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

/// Each user may do what the rules about it say together, and nothing else; what it may not is told with
/// its name and the role.
#[tokio::test]
async fn users_may_do_what_they_are_allowed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let rules = [
        "--allow=uid:0=watch",
        "--allow=uid:65001=query",
        "--allow=uid:65002=watch,query",
        "--allow=gid:65003=node",
        "--allow=gid:65003=watch",
    ];
    let agent = Agent::start_with([&rules[..], &["--always-watch", "all"]].concat()).await?;
    agent.let_everybody_connect()?;
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
            let said = run(User { uid, gid }, &agent, command).await?;
            if roles.contains(&role) {
                assert_eq!(said.code, Some(0), "{uid}:{gid} {command:?}: {said:?}");
                continue;
            }
            assert_eq!(said.code, Some(NOT_LET), "{uid}:{gid} {command:?}: {said:?}");
            for part in [format!("uid {uid}"), format!("role {role}")] {
                assert!(said.stderr.contains(&part), "{uid}:{gid} {command:?}: {said:?}");
            }
        }
    }
    Ok(())
}

/// Health and reflection are part of the node, for those who call without our client too.
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

/// Without a rule everybody who can connect may do everything; with one, a port without identities
/// lets nobody in, and says that it is the identity which is missing. It can be let in by name.
#[tokio::test]
async fn whoever_has_no_identity_is_told_so() -> Result<()> {
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

/// What callers may not do is counted, and at their rate: who is denied calls takes as much as who is
/// answered.
#[tokio::test]
async fn what_is_denied_is_counted_and_has_a_rate() -> Result<()> {
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
    assert_eq!(within("an answer of the node", counted).await?, Some(denied));
    assert_eq!(agent.stderr()?.matches("denied: ").count(), 1, "one line in ten seconds");
    Ok(())
}

/// So it is with health checks, which have no rate for those alone who may make them.
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

/// The variable takes several rules.
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
