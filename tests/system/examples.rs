//! The example collectors of `client/examples`, built from generated code as its README says.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::process;
use taskstats_tests::tools;
use taskstats_tests::workload::Workload;
use tempfile::TempDir;

/// Arguments of an agent that remembers the exits of a test, without a watcher too.
const ARGUMENTS: [&str; 2] = ["--grace-period", "10m"];
/// The smallest history that the agent accepts.
const SMALL_HISTORY: [&str; 2] = ["--history-bytes", "64KiB"];
/// Threads that exit on each CPU: more than that history holds.
const TOO_MANY: usize = 4000;
const HISTORY: &str = "LOST_STAGE_HISTORY";
const KERNEL_SOCKET: &str = "LOST_STAGE_KERNEL_SOCKET";
const RESTART: &str = "LOST_STAGE_AGENT_RESTART";
/// The program as `$0`, with its standard error and output in one pipe.
const BOTH_OUTPUTS: &str = "exec \"$0\" \"$@\" 2>&1";

/// Makes each test run with both collectors.
macro_rules! for_each_collector {
    ($($test:ident),* $(,)?) => {
        mod go {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test("collector-go").await
            })*
        }
        mod python {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test("collector-python").await
            })*
        }
    };
}

for_each_collector!(
    continues_after_its_own_restart,
    counts_what_the_history_dropped,
    reports_a_restart_of_the_agent,
    notices_an_agent_that_does_not_respond,
);

/// The README and the requirements of the examples name the versions that these tests use.
#[test]
fn the_tested_versions_are_documented() -> Result<()> {
    let read = |path: &str| fs::read_to_string(format!("{WORKSPACE}/{path}"));
    let readme = read("client/examples/README.md")?;
    let tools = read("tests/peers/tools")?;
    for (package, constant) in
        [("cmd/protoc-gen-go", "PROTOC_GEN_GO"), ("cmd/protoc-gen-go-grpc", "PROTOC_GEN_GO_GRPC")]
    {
        let mut lines = tools.lines();
        let version = lines.find_map(|line| line.strip_prefix(&format!("readonly {constant}=")));
        let documented = format!("{package}@v{}\n", version.context(constant)?);
        assert!(readme.contains(&documented), "{documented}");
    }
    let tested = read("tests/requirements.txt")?;
    for line in read("client/examples/python/requirements.txt")?.lines() {
        assert!(tested.lines().any(|tested| tested == line), "{line}");
    }
    Ok(())
}

/// A collector that is killed repeats and misses nothing, apart from exits that it printed and had
/// not saved.
async fn continues_after_its_own_restart(program: &str) -> Result<()> {
    let _lock = MachineLock::shared()?;
    let site = Site::new(program)?;
    let _agent = site.start_agent().await?;
    let mut collector = site.start_collector().await?;
    collector.sees_a_new_exit().await?;
    let printed = collector.kill().await?;
    let missed = Workload::run(&["exit", "8"]).await?;
    let mut collector = site.continue_collector(printed)?;
    collector.exit_of(missed.pid).await?;
    collector.printed.missed_only_kernel_drops()
}

/// A collector that is away for too long prints how many exits are missing, in their place.
async fn counts_what_the_history_dropped(program: &str) -> Result<()> {
    let _lock = MachineLock::shared()?;
    let site = Site::new(program)?;
    let _agent = site.start_agent_with(&SMALL_HISTORY).await?;
    let mut collector = site.start_collector().await?;
    collector.sees_a_new_exit().await?;
    let printed = collector.kill().await?;
    end_all(start_churn(TOO_MANY)?).await?;
    let mut collector = site.continue_collector(printed)?;
    collector.sees_a_new_exit().await?;
    let counts = collector.printed.losses_of(HISTORY);
    assert!(counts.iter().any(|count| count.is_some_and(|count| count > 0)), "{counts:?}");
    Ok(())
}

/// When another agent listens at the same address, the collector says so and continues with it.
async fn reports_a_restart_of_the_agent(program: &str) -> Result<()> {
    let _lock = MachineLock::shared()?;
    let site = Site::new(program)?;
    let mut agent = site.start_agent().await?;
    let mut collector = site.start_collector().await?;
    collector.sees_a_new_exit().await?;
    agent.signal(Signal::SIGKILL)?;
    agent.ended().await?;
    let _agent = site.start_agent().await?;
    while collector.printed.losses_of(RESTART).is_empty() {
        collector.next().await?;
    }
    assert_eq!(collector.printed.losses_of(RESTART), [None]);
    collector.sees_a_new_exit().await?;
    Ok(())
}

/// Keepalive pings notice that the agent stands still, and the collector continues when it runs
/// again.
async fn notices_an_agent_that_does_not_respond(program: &str) -> Result<()> {
    let _lock = MachineLock::shared()?;
    let site = Site::new(program)?;
    let agent = site.start_agent().await?;
    let mut collector = site.start_collector().await?;
    collector.sees_a_new_exit().await?;
    process::pause(agent.pid()?).await?;
    while collector.printed.failures == 0 {
        collector.next().await?;
    }
    let missed = Workload::run(&["exit", "8"]).await?;
    process::continue_process(agent.pid()?)?;
    collector.exit_of(missed.pid).await?;
    collector.printed.missed_only_kernel_drops()
}

/// The address of an agent and the cursor file of a collector.
struct Site {
    program: PathBuf,
    directory: TempDir,
}

/// A collector that runs.
struct Collector {
    peer: Peer,
    cursor: PathBuf,
    printed: Printed,
}

/// The output of a collector, over all of its runs.
#[derive(Default)]
struct Printed {
    /// The newest sequence, of an exit or of a counted loss.
    sequence: Option<u64>,
    /// The stage and the count of each loss.
    losses: Vec<(String, Option<u64>)>,
    /// Lines about failed calls.
    failures: usize,
}

impl Site {
    fn new(program: &str) -> Result<Self> {
        Ok(Self { program: tools::peer(program)?, directory: TempDir::new()? })
    }

    fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("agent.sock").display())
    }

    async fn start_agent(&self) -> Result<Agent> {
        self.start_agent_with(&[]).await
    }

    async fn start_agent_with(&self, arguments: &[&str]) -> Result<Agent> {
        let launch = Launch::new()?.arguments(ARGUMENTS).arguments(arguments);
        launch.arguments(["--listen", &self.url()]).start().await
    }

    /// Starts a collector without a cursor, and waits until it watches.
    async fn start_collector(&self) -> Result<Collector> {
        let collector = self.continue_collector(Printed::default())?;
        collector.saves(0).await?;
        Ok(collector)
    }

    /// Starts a collector that continues at its cursor.
    fn continue_collector(&self, printed: Printed) -> Result<Collector> {
        let cursor = self.directory.path().join("cursor.json");
        let program = self.program.display().to_string();
        let words = ["-c", BOTH_OUTPUTS, &program, &self.url(), &cursor.display().to_string()];
        Ok(Collector { peer: Peer::start("/bin/sh".as_ref(), words)?, cursor, printed })
    }
}

impl Collector {
    /// Reads the next line. Returns the id of the task when it is an exit.
    async fn next(&mut self) -> Result<Option<u64>> {
        let line = self.peer.line().await?;
        self.printed.read(&line)
    }

    /// Reads until the exit of a task.
    async fn exit_of(&mut self, pid: u32) -> Result<()> {
        while self.next().await? != Some(pid.into()) {}
        Ok(())
    }

    /// Ends a task, and reads until its exit.
    async fn sees_a_new_exit(&mut self) -> Result<u32> {
        let ended = Workload::run(&["exit", "7"]).await?;
        self.exit_of(ended.pid).await?;
        Ok(ended.pid)
    }

    /// Waits until the saved cursor has reached a sequence.
    async fn saves(&self, sequence: u64) -> Result<()> {
        let saved = within("a saved cursor", async {
            loop {
                if self.saved()?.is_some_and(|saved| saved >= sequence) {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        });
        saved.await?
    }

    /// Returns the sequence of the saved cursor. JSON leaves 0 out.
    fn saved(&self) -> Result<Option<u64>> {
        if !self.cursor.exists() {
            return Ok(None);
        }
        let cursor = serde_json::from_str(&fs::read_to_string(&self.cursor)?)?;
        Ok(Some(number(&cursor, "/sequence").unwrap_or(0)))
    }

    /// Kills it after it has saved its cursor, and returns all that it printed.
    async fn kill(mut self) -> Result<Printed> {
        self.saves(self.printed.sequence.context("no exit")?).await?;
        kill(Pid::from_raw(self.peer.pid()?.try_into()?), Signal::SIGKILL)?;
        while let Ok(line) = self.peer.line().await {
            // It can be killed inside of a line.
            if line.ends_with('\n') {
                self.printed.read(&line)?;
            }
        }
        Ok(self.printed)
    }
}

impl Printed {
    /// Returns the counts of the losses of a stage.
    fn losses_of(&self, stage: &str) -> Vec<Option<u64>> {
        let losses = self.losses.iter().filter(|(of, _)| of == stage);
        losses.map(|(_, count)| *count).collect()
    }

    /// Ensures that the agent had all exits, other than those that the kernel dropped under load.
    fn missed_only_kernel_drops(&self) -> Result<()> {
        let all = self.losses.iter().all(|(stage, _)| stage == KERNEL_SOCKET);
        ensure!(all, "{:?}", self.losses);
        Ok(())
    }

    /// Reads a line, and checks that no exit before it is missing. Returns the id of the task when
    /// it is an exit.
    fn read(&mut self, line: &str) -> Result<Option<u64>> {
        let Some((kind @ ("exit" | "lost"), json)) = line.split_once(' ') else {
            self.failures += 1;
            return Ok(None);
        };
        let document: Value = serde_json::from_str(json)?;
        if kind == "lost" {
            let stage = document.pointer("/stage").and_then(Value::as_str).context("no stage")?;
            let count = number(&document, "/count");
            self.sequence = self.sequence.zip(count).map(|(sequence, count)| sequence + count);
            self.losses.push((stage.to_owned(), count));
            return Ok(None);
        }
        let sequence = number(&document, "/sequence").context("no sequence")?;
        if let Some(before) = self.sequence {
            ensure!(sequence <= before + 1, "{sequence} follows {before}");
        }
        self.sequence = self.sequence.max(Some(sequence));
        let pid = number(&document, "/task/identity/pid").context("no pid")?;
        Ok(Some(pid))
    }
}

/// Returns a number, which JSON has as text when it has 64 bits.
fn number(document: &Value, pointer: &str) -> Option<u64> {
    let value = document.pointer(pointer)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
