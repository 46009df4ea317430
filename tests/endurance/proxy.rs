//! A foreign load maker (k6), directly and through a foreign proxy (Envoy).

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::client::connect;
use taskstats_tests::deadline::within;
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::Vitals;
use taskstats_tests::tools;
use tokio::process::Command;

use crate::support::{duration, mark};

/// Additional time for k6 to start and to report on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The summary that the script prints.
#[derive(Debug, Deserialize)]
struct Summary {
    calls: u64,
    calls_per_second: f64,
    streams: u64,
    messages: u64,
    unexpected: u64,
}

/// Every call of a foreign client at full speed ends as it should, and so does every stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_at_full_speed_meets_no_unexpected_code() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let target = agent.listening_on("tcp://")?;
    assert_loaded(&agent, target.trim_start_matches("tcp://"), "k6").await
}

/// The same holds through a proxy, which multiplexes connections and streams anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_through_envoy_meets_no_unexpected_code() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start().await?;
    let proxy = Envoy::start(&agent.socket()).await?;
    assert_loaded(&agent, &proxy.target, "k6 through Envoy").await
}

async fn assert_loaded(agent: &Agent, target: &str, what: &str) -> Result<()> {
    let before = Vitals::begin(agent.pid()?)?;
    let summary = load(target).await?;
    println!("{what}: {summary:?}; before: {before}; after: {}", Vitals::of(agent.pid()?)?);
    assert_eq!(summary.unexpected, 0, "{summary:?}");
    assert!(summary.calls > 0 && summary.calls_per_second > 0.0, "{summary:?}");
    assert!(summary.streams > 0 && summary.messages > 0, "{summary:?}");
    assert!(!agent.stderr()?.contains("panicked"), "{}", agent.stderr()?);
    Ok(())
}

/// Runs k6 for half of the time, while tasks exit.
async fn load(target: &str) -> Result<Summary> {
    let time = duration()? / 2;
    let mut command = Command::new(tools::k6()?);
    command.args(["run", "--quiet", "--no-usage-report", "--no-color"]);
    for (name, value) in [
        ("TARGET", target),
        ("PID", &std::process::id().to_string()),
        ("DURATION", &format!("{}s", time.as_secs())),
    ] {
        command.args(["--env", &format!("{name}={value}")]);
    }
    command.arg(Path::new(WORKSPACE).join("tests/peers/load.js"));
    command.stdin(Stdio::null());
    let exits = async {
        loop {
            mark().await?;
        }
    };
    let output: Output = tokio::select! {
        output = tokio::time::timeout(time + PATIENCE, GuardedChild::run(&mut command)) => output??,
        failed = exits => return failed,
    };
    let (stdout, stderr) = (str::from_utf8(&output.stdout)?, str::from_utf8(&output.stderr)?);
    ensure!(output.status.success(), "k6 ended with {}: {stderr}", output.status);
    let line = stdout.lines().rfind(|line| line.starts_with('{'));
    let summary: Summary = serde_json::from_str(line.context("k6 printed no summary")?)?;
    ensure!(summary.unexpected == 0, "{summary:?}: {stderr}");
    Ok(summary)
}

/// A proxy in front of a unix socket. Dropping it kills it.
struct Envoy {
    target: String,
    _child: GuardedChild,
    _directory: tempfile::TempDir,
}

impl Envoy {
    async fn start(socket: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // Envoy does not report which port the kernel chose, so it gets one that is free now.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = directory.path().join("envoy.yaml");
        fs::write(&configuration, configure(address.port(), socket))?;
        let mut command = Command::new(tools::envoy()?);
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
        command.arg("--config-path").arg(&configuration);
        let child = GuardedChild::spawn(command.stdin(Stdio::null()))?;
        let target = address.to_string();
        within("Envoy to listen", async {
            while connect(&format!("tcp://{target}")).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await?;
        Ok(Self { target, _child: child, _directory: directory })
    }
}

/// HTTP/2 on both sides, and no limit to how long a stream may last.
fn configure(port: u16, socket: &Path) -> String {
    const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    const OPTIONS: &str =
        "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let socket = socket.display();
    format!(
        r#"
static_resources:
  listeners:
  - name: front
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {MANAGER}
          stat_prefix: front
          codec_type: HTTP2
          stream_idle_timeout: 0s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {ROUTER} }}
          route_config:
            virtual_hosts:
            - name: agent
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: agent, timeout: 0s }}
  clusters:
  - name: agent
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {OPTIONS}
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: agent
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }}
"#
    )
}
