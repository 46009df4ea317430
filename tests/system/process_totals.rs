//! What a process used in all, against the exits of its threads and the number in its name.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{ExitEvent, ProcessTotals, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::client::connect;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::watch::{Watch, tgid_of};
use taskstats_tests::workload::Workload;

use crate::command::taskstatsctl;
use crate::support::task;

/// Processes that end. The environment variable `PROCESSES` has another number.
const PROCESSES: usize = 500;
/// The parts of a task's record that are added up.
const PARTS: [&str; 6] = ["cpu", "faults", "memory", "io", "context_switches", "delays"];

/// Numbers of a message by their path, such as `delays.cpu.count`. Zeros are left out.
type Numbers = BTreeMap<String, u64>;

/// Adds messages up, field by field.
struct Adder {
    pool: DescriptorPool,
}

impl Adder {
    fn new() -> Result<Self> {
        Ok(Self { pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET)? })
    }

    fn numbers(&self, name: &str, message: &impl Message) -> Result<Numbers> {
        let descriptor = self.pool.get_message_by_name(name).context("no such message")?;
        let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
        let mut numbers = Numbers::new();
        for part in PARTS {
            if let Some(Value::Message(nested)) = message.get_field_by_name(part).as_deref() {
                flatten(nested, part, &mut numbers)?;
            }
        }
        Ok(numbers)
    }

    /// The sums over threads.
    fn sums(&self, threads: &[ExitEvent]) -> Result<Numbers> {
        let mut sums = Numbers::new();
        for thread in threads {
            for (path, number) in self.numbers("taskstats.v1.TaskStats", task(thread)?)? {
                let combine = match path.rsplit('.').next() {
                    Some("max_ns" | "peak_rss_kib" | "peak_vm_kib") => u64::max,
                    Some("min_ns") => u64::min,
                    _ => |sum, number| sum + number,
                };
                let combined = sums.get(&path).map_or(number, |sum| combine(*sum, number));
                sums.insert(path, combined);
            }
        }
        Ok(without_zeros(sums))
    }

    fn totals(&self, totals: &ProcessTotals) -> Result<Numbers> {
        Ok(without_zeros(self.numbers("taskstats.v1.ProcessTotals", totals)?))
    }
}

fn flatten(message: &DynamicMessage, path: &str, numbers: &mut Numbers) -> Result<()> {
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.name());
        match value {
            Value::U64(number) => drop(numbers.insert(path, *number)),
            // The time of the longest wait is no number.
            Value::Message(_) if field.name() == "max_at" => {}
            Value::Message(nested) => flatten(nested, &path, numbers)?,
            other => bail!("{path} is {other:?}"),
        }
    }
    Ok(())
}

fn without_zeros(mut numbers: Numbers) -> Numbers {
    numbers.retain(|_, number| *number > 0);
    numbers
}

/// The number of threads in the name of a task of the workload.
fn named(event: &ExitEvent) -> Option<u32> {
    let comm = event.task.as_ref()?.identity.as_ref()?.comm.as_deref()?;
    let [b't', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'J' | b'G' | b'L' | b'K'] =
        *comm.as_bytes()
    else {
        return None;
    };
    Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// The ends of the workload that were checked.
#[derive(Debug, Default)]
struct Checked {
    ends: usize,
    incomplete: usize,
}

/// Compares the totals of each process in the stream with the exits of its threads before it.
struct Comparison {
    adder: Adder,
    /// The threads of live processes that have exited, by process id.
    exited: BTreeMap<u32, Vec<ExitEvent>>,
    checked: Checked,
}

impl Comparison {
    fn add(&mut self, event: &ExitEvent) -> Result<()> {
        let (Some(threads), Some(tgid)) = (named(event), tgid_of(event)) else { return Ok(()) };
        let exited = self.exited.entry(tgid).or_default();
        exited.push(event.clone());
        if event.last_in_process != Some(true) {
            assert_eq!(event.process_totals, None, "only the last thread has totals");
            return Ok(());
        }
        let totals = event.process_totals.as_deref().context("no totals")?;
        assert_eq!(totals.threads as usize, exited.len(), "{event:?}");
        assert_eq!(self.adder.totals(totals)?, self.adder.sums(exited)?, "{event:?}");
        if totals.complete {
            assert_eq!(totals.threads, threads, "complete without all threads: {event:?}");
        } else {
            self.checked.incomplete += 1;
        }
        self.checked.ends += 1;
        self.exited.remove(&tgid);
        Ok(())
    }
}

/// However a process with threads ends, its totals are the sums over the exits of its threads in every
/// field, and are called complete only with all threads that its name says.
#[tokio::test]
async fn totals_are_the_sums_over_all_threads() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let count = std::env::var("PROCESSES").map_or(Ok(PROCESSES), |count| count.parse())?;
    let agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let script = format!("{WORKSPACE}/tests/peers/threads.py");
    let _workload = Peer::start(Path::new("python3"), [script, count.to_string()])?;
    let mut comparison =
        Comparison { adder: Adder::new()?, exited: BTreeMap::new(), checked: Checked::default() };
    while comparison.checked.ends < count {
        if let Kind::Events(events) = watch.next().await?.context("the stream ended")? {
            events.events.iter().try_for_each(|event| comparison.add(event))?;
        }
    }
    assert!(watch.losses().is_empty(), "{:?}", watch.losses());
    eprintln!("{:?}", comparison.checked);
    // A thread that is pre-empted while it exits comes later than its process.
    assert!(comparison.checked.incomplete * 20 <= count, "{:?}", comparison.checked);
    Ok(())
}

/// Two threads exited before the agent watched, one exits afterwards.
#[tokio::test]
async fn totals_are_incomplete_if_a_thread_exited_unseen() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let early = Workload::waiting(&["outlive", "2"]).await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let late = Workload::waiting(&["outlive", "2"]).await?;
    for (workload, threads, complete) in [(early, 1, false), (late, 3, true)] {
        let pid = workload.end().await?.pid;
        let totals = watch.exit_of(pid).await?.process_totals.context("no totals")?;
        assert_eq!((totals.threads, totals.complete), (threads, complete));
    }
    Ok(())
}

/// The threads exit on a CPU that is not watched.
#[tokio::test]
async fn totals_are_incomplete_if_a_thread_exited_on_another_cpu() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let request = WatchExitsRequest { cpumask: "0".to_owned(), ..Default::default() };
    let mut watch = Watch::open(&connect(&agent.url()).await?, request).await?;
    let workload = Workload::waiting(&["--cpu", "1", "outlive", "2"]).await?;
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    sched_setaffinity(Pid::from_raw(workload.pid().try_into()?), &cpus)?;
    let pid = workload.end().await?.pid;
    let event = watch.exit_of(pid).await?;
    let totals = event.process_totals.context("no totals")?;
    assert_eq!((totals.threads, totals.complete), (1, false));
    Ok(())
}

/// A process with a single thread is its task.
#[tokio::test]
async fn a_process_with_a_single_thread_has_no_totals() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    let event = watch.exit_of(ended.pid).await?;
    assert_eq!((event.last_in_process, event.process_totals), (Some(true), None));
    Ok(())
}

/// The command line prints the I/O of all threads, which the kernel's record of the group lacks.
#[tokio::test]
async fn taskstatsctl_prints_the_totals() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--always-watch", "all"]).await?;
    let workload = Workload::waiting(&["outlive", "2"]).await?;
    let pid = workload.end().await?.pid;
    let mut watch = Watch::open(
        &connect(&agent.url()).await?,
        WatchExitsRequest { replay_last: u32::MAX, ..Default::default() },
    )
    .await?;
    let event = watch.exit_of(pid).await?;
    let io = event.process_totals.context("no totals")?.io.context("no I/O")?;
    let arguments = ["watch", "--scope", "processes", "--since", "1m", "--no-follow"];
    let output = taskstatsctl(&agent.url(), &[&arguments[..], &["-o", "compact"]].concat()).await?;
    let row = output.stdout.lines().find(|line| line.contains(&format!(" pid={pid} ")));
    let row = row.with_context(|| format!("no row of {pid} in {output:?}"))?;
    let io_bytes = format!(" io_bytes={} ", io.read_bytes + io.write_bytes);
    assert!(row.contains(&io_bytes), "{row}");
    Ok(())
}
