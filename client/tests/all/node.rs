//! `taskstatsctl node`, by running the binary.

use prost_types::Timestamp;
use serde_json::{Value, json};
use taskstats_client::proto::*;

use crate::command::{run, text};
use crate::records::time;
use crate::scripted_agent::{Agent, Script};

fn node() -> GetNodeResponse {
    let lost = LostCount { stage: LostStage::KernelSocket.into(), count: 3 };
    GetNodeResponse {
        node_name: "node7".to_owned(),
        boot_id: "boot".to_owned(),
        kernel_release: "6.18.0".to_owned(),
        taskstats_version: 16,
        possible_cpus: "0-3".to_owned(),
        online_cpus: "0-1".to_owned(),
        delay_accounting: DelayAccounting::Off.into(),
        agent_version: "0.1.0".to_owned(),
        instance_id: "run1".to_owned(),
        started_at: time(0),
        exits: Some(ExitsState {
            watchable: false,
            reason: "the agent lacks CAP_NET_ADMIN".to_owned(),
            fix: "grant it".to_owned(),
        }),
        counters: Some(Counters {
            received: 100,
            delivered: 200,
            lost: vec![lost],
            watchers: 2,
            watched_cpus: "0-1".to_owned(),
            unexplained_gaps: 4,
            refused: vec![RefusedCount { limit: Limit::CallRate.into(), count: 3 }],
            denied: 5,
        }),
        history: Some(History {
            first_sequence: 1,
            last_sequence: 103,
            bytes: 14 << 10,
            capacity_bytes: 32 << 20,
        }),
        certificates: vec![certificate()],
        tls: Some(Tls {
            reloads: 1,
            failed_reloads: 2,
            reload_error: "--tls-cert /a.crt has no CERTIFICATE".to_owned(),
            handshakes: 3,
            failed_handshakes: 4,
        }),
        delay_accounting_since: None,
        sandbox: Some(Sandbox {
            uid: 65534,
            gid: 65534,
            capabilities: vec!["net_admin".to_owned()],
            no_new_privs: true,
            seccomp: true,
            landlock_version: 0,
            gaps: vec!["no landlock".to_owned()],
        }),
        simulated_kernel: String::new(),
        attribution: Some(AttributionState {
            method: AttributionMethod::Off.into(),
            unknown: 100,
            reason: "bpf failed".to_owned(),
            fix: "grant CAP_BPF".to_owned(),
            ..Default::default()
        }),
    }
}

fn certificate() -> Certificate {
    Certificate {
        r#use: CertificateUse::Server.into(),
        subject: "CN=node7".to_owned(),
        dns_names: vec!["node7".to_owned()],
        uris: vec!["spiffe://a/b".to_owned()],
        ip_addresses: vec!["10.0.0.7".to_owned()],
        not_before: time(0),
        not_after: time(0).map(|time| Timestamp { seconds: time.seconds + 60, ..time }),
    }
}

#[tokio::test]
async fn a_node_is_printed_in_full() {
    let agent = Agent::start(Script { node: node(), ..Script::default() });
    let expected = "\
Node
  name                node7
  boot id             boot
  kernel              6.18.0
  taskstats version   16
  possible CPUs       0-3
  online CPUs         0-1
  delay accounting    off: sysctl kernel.task_delayacct=1 turns it on for new tasks
Agent
  version             0.1.0
  instance id         run1
  started             2026-11-22 14:07:09
Exits
  watchable           no
  reason              the agent lacks CAP_NET_ADMIN
  fix                 grant it
Since start-up
  received            100
  delivered           200
  lost in the kernel  3
  calls over the rate 3
  denied calls        5
  unexplained gaps    4
  watchers            2
  watched CPUs        0-1
History
  memory              14 KiB of 32 MiB
  exits               1 to 103
Attribution of exits
  method              off
  unknown             100
  reason              bpf failed
  fix                 grant CAP_BPF
Certificate
  subject             CN=node7
  names               node7, spiffe://a/b, 10.0.0.7
  valid from          2026-11-22 14:07:09
  valid until         2026-11-22 14:08:09
TLS since start-up
  handshakes          3
  failed handshakes   4
  reloads             1
  failed reloads      2
  last reload error   --tls-cert /a.crt has no CERTIFICATE
Privileges
  user and group      65534:65534
  capabilities        net_admin
  no new privileges   yes
  seccomp             yes
  landlock            no
  missing             no landlock
";
    assert_eq!(text(&run(&agent, &["node"]).await.stdout), expected);
    let compact = run(&agent, &["node", "-o", "compact"]).await.stdout;
    assert!(text(&compact).starts_with("node name=node7 boot_id=boot kernel=6.18.0 taskstats=16"));
    let line = run(&agent, &["node", "-o", "jsonl"]).await.stdout;
    let value: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(value["counters"]["lost"][0]["stage"], json!("LOST_STAGE_KERNEL_SOCKET"));
    assert_eq!(value["nodeName"], json!("node7"));
}

#[tokio::test]
async fn a_node_has_the_begin_of_delay_accounting() {
    let on = GetNodeResponse {
        delay_accounting: DelayAccounting::On.into(),
        delay_accounting_since: time(0),
        ..node()
    };
    let agent = Agent::start(Script { node: on, ..Script::default() });
    let table = run(&agent, &["node"]).await.stdout;
    let row = "  delay accounting    on, for tasks that began after 2026-11-22 14:07:09\n";
    assert!(text(&table).contains(row), "{}", text(&table));
    let compact = run(&agent, &["node", "-o", "compact"]).await.stdout;
    let pair = " delay_accounting=on delay_accounting_since=2026-11-22T14:07:09";
    assert!(text(&compact).contains(pair), "{}", text(&compact));
}

/// A node with a simulated kernel is labelled, and no other node is.
#[tokio::test]
async fn a_simulated_kernel_is_labelled() {
    let simulated = GetNodeResponse { simulated_kernel: "sim:cpus=4".to_owned(), ..node() };
    let agent = Agent::start(Script { node: simulated, ..Script::default() });
    let table = run(&agent, &["node"]).await.stdout;
    assert!(text(&table).contains("  simulated           sim:cpus=4\n"), "{}", text(&table));
    let compact = run(&agent, &["node", "-o", "compact"]).await.stdout;
    assert!(text(&compact).contains(" simulated=\"sim:cpus=4\"\n"), "{}", text(&compact));
}

/// A kernel that the agent cannot query has no version.
#[tokio::test]
async fn an_unknown_version_is_omitted() {
    let node = GetNodeResponse { taskstats_version: 0, ..node() };
    let agent = Agent::start(Script { node, ..Script::default() });
    let output = run(&agent, &["node"]).await;
    assert!(!text(&output.stdout).contains("taskstats version"), "{}", text(&output.stdout));
    let output = run(&agent, &["node", "-o", "compact"]).await;
    assert!(text(&output.stdout).contains(" taskstats=\"\" "), "{}", text(&output.stdout));
}
