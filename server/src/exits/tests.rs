//! From the kernel to the watchers, step by step in one thread: whatever the schedule, the faults and
//! the speeds, each watcher's account is complete.
//!
//! A reference watcher of everything is read after every step, so that it is never overtaken; the
//! others are compared with it, and it with what the simulated kernel says that it sent.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use proptest::prelude::*;
use prost::Message;
use taskstats_proto::v1;

use super::history::ExitKind;
use super::reader::{Clocks, ExitReader, SocketDisposition};
use super::*;
use crate::sim::SimKernel;

const CPUS: u32 = 3;
/// Watchers beside the reference.
const WATCHERS: usize = 4;
/// Some dozens of exits in a step, which overflow the small queues now and then.
const SPEC: &str = "cpus=3,rate=6000,threads=3,tasks=30,truncate=0.01,overflow=0.005,migrate=0.02";
/// Overflows at six messages, so that a turn brings eighteen exits at most.
const RECEIVE_BUFFER: usize = 4096;
/// Holds what some turns bring, so that watchers are overtaken all the time, but for the reference.
const HISTORY: usize = 16 * 1024;

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

#[derive(Clone, Debug)]
enum Step {
    /// So many milliseconds pass on the simulated machine.
    Advance(u64),
    /// So many pass on the reader's clock.
    Wait(u64),
    /// The reader includes a turn.
    Turn,
    /// A watcher begins, if it has not.
    Watch(usize),
    /// The watcher reads so many times.
    Read(usize, usize),
    /// The watcher leaves, and resumes after its last cursor.
    Resume(usize),
}

/// An exit that the reference received or lost, by sequence.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    cpu: u32,
    /// `None` for one that was dropped.
    kind: Option<ExitKind>,
}

/// A watcher, and the account that it keeps.
struct Account {
    selection: Selection,
    watcher: Option<Watcher>,
    began_after: u64,
    received: Vec<v1::ExitEvent>,
    losses: Vec<Loss>,
    is_ended: bool,
}

struct Run {
    kernel: Arc<SimKernel>,
    exits: Exits,
    reader: ExitReader,
    reference: Account,
    accounts: Vec<Account>,
}

impl Account {
    fn new(selection: Selection) -> Self {
        let (received, losses) = (Vec::new(), Vec::new());
        Self { selection, watcher: None, began_after: 0, received, losses, is_ended: false }
    }

    /// Reads one thing, if there is any.
    fn read(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        match watcher.next().now_or_never() {
            None => return false,
            Some(WatchEvent::Exits { slices, .. }) => {
                let events = v1::ExitEvents::decode(&*slices.concat()).unwrap().events;
                self.received.extend(events);
            }
            Some(WatchEvent::Lost(loss)) => self.losses.push(loss),
            Some(WatchEvent::Heartbeat { .. }) => {}
            Some(WatchEvent::Ended { .. }) => {
                self.is_ended = true;
                return false;
            }
            Some(WatchEvent::Lagged { .. }) => panic!("it skips"),
        }
        true
    }

    /// Returns the number of reported losses; `None` when one has no count.
    fn lost(&self) -> Option<u64> {
        self.losses.iter().map(|loss| loss.count).sum()
    }

    /// Returns what the reference received and lost.
    fn sent(&self) -> Vec<Sent> {
        let received = self.received.iter().map(|event| Sent {
            sequence: event.sequence,
            cpu: event.cpu,
            kind: Some(match event.last_in_process {
                Some(true) => ExitKind::ProcessEnded,
                Some(false) => ExitKind::ProcessContinues,
                None => ExitKind::Unknown,
            }),
        });
        let dropped = self.losses.iter().flat_map(|loss| {
            let (count, cpu) = (loss.count.unwrap(), loss.cpu.unwrap());
            (loss.cursor - count + 1..=loss.cursor).map(move |sequence| Sent {
                sequence,
                cpu,
                kind: None,
            })
        });
        let mut sent: Vec<Sent> = received.chain(dropped).collect();
        sent.sort_by_key(|sent| sent.sequence);
        sent
    }

    /// Compares the events with the exits that were sent.
    fn check(&self, sent: &[Sent]) {
        let wanted = sent.iter().filter(|sent| {
            sent.sequence > self.began_after
                && self.selection.cpus().contains(sent.cpu)
                && sent.kind.is_none_or(|kind| self.selection.scope().includes(kind))
        });
        let wanted: Vec<&Sent> = wanted.collect();
        let sequences: Vec<u64> = self.received.iter().map(|event| event.sequence).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b), "in order, without duplicates");
        let real: HashSet<u64> =
            wanted.iter().filter(|sent| sent.kind.is_some()).map(|sent| sent.sequence).collect();
        assert!(sequences.iter().all(|sequence| real.contains(sequence)), "only what was selected");
        let received = sequences.len() as u64;
        match self.lost() {
            Some(lost) => {
                assert_eq!(received + lost, wanted.len() as u64, "received + lost = sent");
            }
            None => assert!(received <= wanted.len() as u64),
        }
    }
}

impl Run {
    async fn new(seed: u64, selections: Vec<Selection>) -> Self {
        let spec = format!("{SPEC},seed={seed}").parse().unwrap();
        let kernel = Arc::new(SimKernel::stepped(spec, RECEIVE_BUFFER));
        let config = ReaderConfig {
            pace: Duration::ZERO,
            receive_buffer: RECEIVE_BUFFER,
            grace: Duration::from_millis(200),
        };
        let clocks = Clocks::new(|| NOW.get(), unix_time);
        let for_exits: Arc<dyn Kernel> = Arc::clone(&kernel) as _;
        let (exits, reader) = Exits::stepped(for_exits, config, HISTORY, clocks, None);
        let everything = Selection::new(possible(), Scope::AllTasks, &possible());
        let reference = Account::new(everything);
        let accounts = selections.into_iter().map(Account::new).collect();
        let mut run = Self { kernel, exits, reader, reference, accounts };
        let begun = begin(&run.exits, &mut run.reader, &mut run.reference, Start::Now).await;
        run.reference.began_after = begun;
        run
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Advance(time) => self.kernel.world().advance(Duration::from_millis(time)),
            Step::Wait(time) => NOW.set(NOW.get() + Duration::from_millis(time)),
            Step::Turn => {
                // Last exits of processes wait for a millisecond; so many do not fit into the history.
                NOW.set(NOW.get() + Duration::from_millis(1));
                self.reader.step();
            }
            Step::Watch(number) => {
                let account = &mut self.accounts[number];
                if account.watcher.is_none() {
                    let begun = begin(&self.exits, &mut self.reader, account, Start::Now).await;
                    account.began_after = begun;
                }
            }
            Step::Read(number, times) => {
                (0..times).for_each(|_| _ = self.accounts[number].read());
            }
            Step::Resume(number) => {
                let account = &mut self.accounts[number];
                // A watcher that has a loss to report has not reached its cursor.
                let is_there = |watcher: &mut Watcher| !watcher.begins_with_loss();
                if let Some(watcher) = account.watcher.take_if(is_there) {
                    let start = Start::After(watcher.cursor());
                    drop(watcher);
                    begin(&self.exits, &mut self.reader, account, start).await;
                }
            }
        }
        while self.reference.read() {}
    }

    /// Ends the reader, has everyone read to the end, and compares.
    fn finish(self) {
        let Self { kernel, exits, reader, mut reference, accounts } = self;
        exits.reader.stop(SocketDisposition::Close);
        reader.run();
        while reference.read() {}
        assert!(reference.is_ended);
        assert!(reference.losses.iter().all(|loss| loss.stage == LossStage::KernelSocket));
        let sent = reference.sent();
        let numbers = (reference.began_after + 1..).zip(&sent);
        assert!(
            numbers.clone().all(|(number, sent)| number == sent.sequence),
            "no number is left out"
        );
        assert_eq!(sent.len() as u64, kernel.world().report().sent, "what the kernel sent");
        let pids = reference
            .received
            .iter()
            .map(|event| event.task.as_ref().unwrap().identity.as_ref().unwrap().pid);
        assert_eq!(pids.collect::<HashSet<_>>().len(), reference.received.len(), "each once");
        for mut account in accounts {
            while account.read() {}
            if account.watcher.is_some() {
                account.check(&sent);
            }
        }
    }
}

/// Has an account watch; returns the sequence that it begins after.
async fn begin(exits: &Exits, reader: &mut ExitReader, account: &mut Account, start: Start) -> u64 {
    let options = WatchOptions { start, ..WatchOptions::default() };
    let watch = exits.watch(account.selection.clone(), options);
    // The command is there before the reader includes its turn.
    let (watcher, _) = tokio::join!(biased; watch, async { reader.step() });
    account.watcher.insert(watcher.unwrap()).cursor()
}

fn possible() -> Cpumask {
    (0..CPUS).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..WATCHERS;
    prop_oneof![
        4 => (0..5_u64).prop_map(Step::Advance),
        2 => (0..80_u64).prop_map(Step::Wait),
        4 => Just(Step::Turn),
        2 => number().prop_map(Step::Watch),
        3 => (number(), 1..4_usize).prop_map(|(number, times)| Step::Read(number, times)),
        1 => number().prop_map(Step::Resume),
    ]
}

fn selections() -> impl Strategy<Value = Vec<Selection>> {
    let scope = prop_oneof![Just(Scope::AllTasks), Just(Scope::Processes), Just(Scope::Threads)];
    let selection = (1..1_u32 << CPUS, scope).prop_map(|(bits, scope)| {
        let cpus = (0..CPUS).filter(|cpu| bits & 1 << cpu != 0).collect();
        Selection::new(cpus, scope, &possible())
    });
    proptest::collection::vec(selection, WATCHERS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_watcher_accounts_for_what_the_kernel_sent(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..120),
        selections in selections(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(seed, selections).await;
            for step in steps {
                run.take(step).await;
            }
            run.finish();
        });
    }
}
