//! The owners of exits, against tasks that say by their name where they belong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Attribution, AttributionMethod, BatchGetRequest, ExitEvent, GetNodeRequest, GetPidRequest,
    GetTgidRequest, Hierarchy, Workload as Owner,
};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::environments::{AS_USER, USER};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

use crate::command::taskstatsctl;
use crate::support::{identity, task};

/// Rounds of the workload: each ends a task in every way in each cgroup.
const ROUNDS: usize = 20;
/// Cgroups of the workload.
const CGROUPS: usize = 4;
/// Levels between the root of the hierarchy and the cgroups of a test: on a machine with both versions,
/// the deeper cgroup counts, and a service manager may have put the test into one of cgroup v1.
const LEVELS: &str = "levels/of/taskstats";

/// A tree of cgroups in the unified hierarchy, removed when it is dropped.
struct Tree {
    root: PathBuf,
    /// All directories, the deepest last.
    made: Vec<PathBuf>,
}

impl Tree {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let unified = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then_some(path)
        });
        let unified = unified.context("no cgroup2 is mounted")?;
        let root =
            Path::new(unified).join(format!("taskstats-tests-{}-{name}", std::process::id()));
        let mut tree = Self { root, made: Vec::new() };
        tree.make(LEVELS)?;
        Ok(tree)
    }

    /// Makes a cgroup and all above it, and returns its directory.
    fn make(&mut self, path: &str) -> Result<PathBuf> {
        let mut directory = self.root.clone();
        let parts = std::iter::once("").chain(path.split('/'));
        for part in parts {
            directory.push(part);
            if !directory.exists() {
                fs::create_dir(&directory)?;
                self.made.push(directory.clone());
            }
        }
        Ok(directory)
    }

    /// Makes the cgroups of the workload: each with one below it.
    fn make_many(&mut self, count: usize) -> Result<Vec<PathBuf>> {
        let make = |index| {
            let path = format!("{LEVELS}/{index}");
            self.make(&format!("{path}/inner"))?;
            self.make(&path)
        };
        (0..count).map(make).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A cgroup with processes stays: they were left by a test that failed, and end soon.
        for directory in self.made.iter().rev() {
            drop(fs::remove_dir(directory));
        }
    }
}

fn id_of(directory: &Path) -> Result<u64> {
    Ok(fs::metadata(directory)?.ino())
}

/// Runs the workload in cgroups and reads the stream until all of its tasks have exited.
async fn run_truth(watch: &mut Watch, cgroups: &[PathBuf]) -> Result<(Vec<ExitEvent>, Owners)> {
    let script = format!("{WORKSPACE}/tests/peers/truth.py");
    let rounds = ROUNDS.to_string();
    let paths = cgroups.iter().map(|cgroup| cgroup.to_str().expect("a path of the test's own"));
    let words = [&*script, &rounds].into_iter().chain(paths);
    let mut python = Peer::start(Path::new("python3"), words)?;
    let mut owners = Owners::default();
    let line = loop {
        tokio::select! {
            line = python.line() => break line?,
            kind = watch.next() => owners.note(kind?.context("the stream ended")?),
        }
    };
    let count = line.trim_end().strip_prefix("done ").context(line.clone())?.parse()?;
    let is_named = |event: &&ExitEvent| place_in(event).is_some();
    while watch.seen().iter().filter(is_named).count() < count {
        owners.note(watch.next().await?.context("the stream ended")?);
    }
    Ok((watch.seen().iter().filter(is_named).cloned().collect(), owners))
}

/// The workloads of a stream, and the events whose workload had not been sent before.
#[derive(Default)]
struct Owners {
    by_id: BTreeMap<(i32, u64), Owner>,
    early: usize,
}

impl Owners {
    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Workloads(sent) => self.by_id.extend(
                sent.workloads.into_iter().map(|owner| ((owner.hierarchy, owner.cgroup_id), owner)),
            ),
            Kind::Events(events) => {
                let is_early = |event: &&ExitEvent| {
                    event
                        .cgroup_id
                        .is_some_and(|id| !self.by_id.contains_key(&(event.hierarchy, id)))
                };
                self.early += events.events.iter().filter(is_early).count();
            }
            _ => {}
        }
    }
}

/// The index of the cgroup in the name of a task, and whether it is the inner one.
fn place_in(event: &ExitEvent) -> Option<(usize, bool)> {
    let comm = event.task.as_ref()?.identity.as_ref()?.comm.as_deref()?;
    let [b'c', tens @ b'0'..=b'9', ones @ b'0'..=b'9', way] = *comm.as_bytes() else { return None };
    Some((usize::from(tens - b'0') * 10 + usize::from(ones - b'0'), way == b'N'))
}

/// Every exit has the cgroup that its task was in: by exec, fork, threads, as an orphan, moved by itself
/// or by its parent, and cloned into it. The workload of a cgroup precedes its first event.
#[tokio::test]
async fn every_exit_has_the_cgroup_that_its_task_was_in() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut tree = Tree::new("truth")?;
    let cgroups = tree.make_many(CGROUPS)?;
    let agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let begun = SystemTime::now();
    let (events, owners) = run_truth(&mut watch, &cgroups).await?;
    assert_eq!(owners.early, 0, "events came before their workload");
    for event in &events {
        let (index, is_inner) = place_in(event).context("not one of the workload")?;
        let inner = cgroups[index].join("inner");
        let directory = if is_inner { &inner } else { &cgroups[index] };
        let comm = identity(task(event)?)?.comm.clone();
        assert_eq!(event.attribution(), Attribution::Exact, "{comm:?}");
        assert_eq!(event.hierarchy(), Hierarchy::V2, "{comm:?}");
        assert_eq!(event.cgroup_id, Some(id_of(directory)?), "{comm:?}");
        let owner =
            owners.by_id.get(&(event.hierarchy, id_of(directory)?)).context("no workload")?;
        assert!(directory.ends_with(owner.cgroup.trim_start_matches('/')), "{owner:?}");
        let exited = SystemTime::try_from(event.exit_time.context("no time")?)?;
        assert!((begun..=SystemTime::now()).contains(&exited), "{exited:?}");
    }
    Ok(())
}

/// At full speed on all CPUs, every exit that is received has the cgroup of its process.
#[tokio::test]
async fn at_full_speed_every_exit_is_attributed_exactly() -> Result<()> {
    /// Threads and processes that each churner ends.
    const EACH: &str = "3000";
    let _lock = MachineLock::shared()?;
    let mut tree = Tree::new("speed")?;
    let cgroups = tree.make_many(CGROUPS)?;
    let agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let mut expected = BTreeMap::new();
    let mut churners = Vec::new();
    for (cgroup, kind) in
        cgroups.iter().zip(["churn-threads", "churn-processes"].into_iter().cycle())
    {
        let path = cgroup.to_str().context("a path of the test's own")?;
        let churner = Workload::start(&["--cgroup", path, kind, EACH])?;
        expected.insert(churner.pid(), id_of(cgroup)?);
        churners.push(churner);
    }
    let mut pids = Vec::new();
    for churner in churners {
        let ended = churner.end().await?;
        ensure!(ended.status.success(), "{ended:?}");
        pids.push(ended.pid);
    }
    for pid in pids {
        watch.exit_of(pid).await?;
    }
    let mut checked = 0;
    for event in watch.seen() {
        let identity = identity(task(event)?)?;
        let ids = [identity.tgid, identity.ppid].into_iter().flatten();
        let Some(cgroup) = ids.filter_map(|id| expected.get(&id)).next() else { continue };
        assert_eq!(event.cgroup_id.as_ref(), Some(cgroup), "{identity:?}");
        assert_eq!(event.attribution(), Attribution::Exact);
        checked += 1;
    }
    assert!(checked >= CGROUPS * 3000, "{checked}");
    Ok(())
}

/// A cgroup that is named as the kubelet names it has a pod and a container; one below it, which a
/// container could have made, has the same.
#[tokio::test]
async fn a_pod_is_found_by_its_path_and_not_by_names_below_it() -> Result<()> {
    const UID: &str = "6f5f4d8e-1c2b-4a3d-9e8f-0a1b2c3d4e5f";
    let id = "0123456789abcdef".repeat(4);
    let _lock = MachineLock::shared()?;
    let mut tree = Tree::new("pods")?;
    // At the root of the hierarchy, where the kubelet makes it.
    tree.root = tree.root.parent().context("a parent")?.join("kubepods");
    let pod = tree.make(&format!("burstable/pod{UID}/{id}"))?;
    let below =
        tree.make(&format!("burstable/pod{UID}/{id}/kubepods/pod{}/{id}", UID.replace('6', "7")))?;
    let agent = Agent::start().await?;
    let mut client = Client::new(connect(&agent.url()).await?);
    for cgroup in [&pod, &below] {
        let path = cgroup.to_str().context("a path of the test's own")?;
        let inside = Workload::waiting(&["--cgroup", path, "idle"]).await?;
        let request = GetPidRequest { pid: inside.pid(), include_workload: true };
        let response = client.get_pid(request).await?.into_inner();
        assert_eq!(response.attribution(), Attribution::Observed);
        let owner = response.workload.context("no workload")?;
        assert_eq!(owner.cgroup_id, id_of(cgroup)?);
        assert_eq!(
            owner.pod.map(|pod| (pod.uid, pod.qos)),
            Some((UID.to_owned(), "Burstable".to_owned()))
        );
        assert_eq!(owner.container.map(|it| it.id), Some(id.clone()));
        inside.kill().await?;
    }
    Ok(())
}

/// Live tasks have their workload on request only, also as processes and in batches.
#[tokio::test]
async fn live_tasks_have_their_workload_on_request() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut tree = Tree::new("live")?;
    let cgroup = tree.make(LEVELS)?;
    let path = cgroup.to_str().context("a path of the test's own")?;
    let agent = Agent::start().await?;
    let mut client = Client::new(connect(&agent.url()).await?);
    let inside = Workload::waiting(&["--cgroup", path, "idle"]).await?;
    let pid = inside.pid();
    let id = Some(id_of(&cgroup)?);
    let asked =
        client.get_tgid(GetTgidRequest { tgid: pid, include_workload: true, ..Default::default() });
    assert_eq!(asked.await?.into_inner().workload.map(|it| it.cgroup_id), id);
    let request =
        BatchGetRequest { pids: vec![pid, u32::MAX], tgids: vec![pid], include_workload: true };
    let results = client.batch_get(request).await?.into_inner().results;
    let found: Vec<_> =
        results.iter().map(|it| it.workload.as_ref().map(|it| it.cgroup_id)).collect();
    assert_eq!(found, [id, None, id]);
    let silent = client.get_pid(GetPidRequest { pid, include_workload: false }).await?.into_inner();
    assert_eq!((silent.workload.is_none(), silent.attribution()), (true, Attribution::Unspecified));
    inside.kill().await?;
    Ok(())
}

/// The command line prints the owner beside an exit and a live task.
#[tokio::test]
async fn taskstatsctl_prints_the_owner() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut tree = Tree::new("printed")?;
    let cgroup = tree.make(LEVELS)?;
    let path = cgroup.to_str().context("a path of the test's own")?;
    let agent = Agent::start_with(["--always-watch", "all"]).await?;
    let inside = Workload::waiting(&["--cgroup", path, "idle"]).await?;
    let pid = inside.pid();
    let row =
        format!("  attribution         observed\n  cgroup              {}", below_root(path)?);
    let output = taskstatsctl(&agent.url(), &["get", "tgid", &pid.to_string()]).await?;
    ensure!(output.stdout.contains(&row), "{row} is not in {output:?}");
    inside.kill().await?;

    let arguments = ["watch", "--since", "1m", "--no-follow", "-o", "jsonl"];
    let output = taskstatsctl(&agent.url(), &arguments).await?;
    let documents: Vec<Value> =
        output.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let is_exit = |it: &&Value| it["event"]["task"]["identity"]["pid"] == json!(pid);
    let document = documents.iter().find(is_exit).context("the exit is not printed")?;
    assert_eq!(document["event"]["attribution"], json!("ATTRIBUTION_EXACT"));
    assert_eq!(document["workload"]["cgroup"], json!(below_root(path)?));
    Ok(())
}

/// Returns the path of a test's cgroup below the root of its hierarchy.
fn below_root(path: &str) -> Result<&str> {
    let at = path.find("/taskstats-tests-").context("a path of the test's own")?;
    Ok(&path[at..])
}

/// With `CAP_NET_ADMIN` alone, exits come without cgroups, and the node says why and what to do.
#[tokio::test]
async fn without_the_capability_exits_are_not_attributed_and_the_node_says_why() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately().wrapped(AS_USER).owned_by(USER)?;
    let agent = launch.start().await?;
    let channel = connect(&agent.url()).await?;
    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    let event = watch.exit_of(ended.pid).await?;
    assert_eq!((event.cgroup_id, event.attribution()), (None, Attribution::Unspecified));
    let node = Client::new(channel).get_node(GetNodeRequest {}).await?.into_inner();
    let state = node.attribution.context("no state")?;
    assert_eq!(state.method(), AttributionMethod::Off);
    assert!(state.reason.contains("bpf("), "{}", state.reason);
    assert!(state.fix.contains("CAP_BPF"), "{}", state.fix);
    assert!(state.unknown > 0 && state.exact == 0, "{state:?}");
    Ok(())
}
