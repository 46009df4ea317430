//! The clock is set while the reader runs: no exit is compared by one clock with the time that its
//! task began.

use std::cell::Cell;
use std::collections::VecDeque;

use futures_util::FutureExt;
use prost::Message;
use taskstats_proto::v1;
use taskstats_proto::v1::DelayAccounting::{On, Partial, Unknown};

use super::*;
use crate::exits::{Scope, Selection, Start, WatchEvent, WatchOptions, Watcher};
use crate::taskstats::{Exit, Since, TaskIdentity, Wake};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// The first time of the wall clock.
const NOON: Duration = Duration::from_secs(20_000 * 24 * 3600 + 12 * 3600);
/// The time since the switch was seen off for the last time and on for the first. The switch does not change.
const OFF_AGO: Duration = Duration::from_secs(61);
/// See [`OFF_AGO`].
const ON_AGO: Duration = MINUTE;
/// Exits of one turn.
const TURN: usize = 3;

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
    static WALL: Cell<Duration> = const { Cell::new(NOON) };
}

/// Exits in the order of their arrival.
type Backlog = Arc<Mutex<VecDeque<Exit>>>;

/// A listener with exits made by the test.
struct ScriptedListener {
    backlog: Backlog,
}

struct NobodyWaits;

impl Wake for NobodyWaits {
    fn wake(&self) {}
}

impl ScriptedListener {
    fn take(&self, most: usize, sink: &mut dyn ExitSink) -> Drained {
        let mut backlog = self.backlog.lock().unwrap();
        let messages = most.min(backlog.len());
        backlog.drain(..messages).for_each(|exit| sink.exit(&exit));
        Drained { messages, fullest: messages, cut_short: !backlog.is_empty() }
    }
}

impl ExitListener for ScriptedListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(NobodyWaits)
    }

    fn open(&mut self, _cpu: u32) -> Result<(), KernelError> {
        Ok(())
    }

    fn close(&mut self, _cpu: u32, sink: &mut dyn ExitSink) {
        self.take(usize::MAX, sink);
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> Result<(), KernelError> {
        Ok(())
    }

    fn drain(&mut self, _depth: Depth, sink: &mut dyn ExitSink) -> Drained {
        self.take(TURN, sink)
    }

    fn keep(self: Box<Self>) -> Vec<KeptSocket> {
        Vec::new()
    }

    fn check_drops(&mut self, _sink: &mut dyn ExitSink) {}
}

/// A kernel whose exits the test makes. What it says of its switch is as long ago as it is, by the clock as
/// it is now.
fn scripted(backlog: &Backlog) -> FakeKernel {
    let (switched_at, backlog) = (NOW.get(), Arc::clone(backlog));
    FakeKernel {
        possible: cpu(0),
        listen: Box::new(move || Box::new(ScriptedListener { backlog: Arc::clone(&backlog) })),
        delay_accounting: Box::new(move || {
            let on_at = WALL.get() - NOW.get().duration_since(switched_at) - ON_AGO;
            let off_at = Some(on_at + ON_AGO - OFF_AGO);
            DelayAccounting::On(Since::Between { off_at, on_at })
        }),
    }
}

/// A reader and a watcher of its exits.
struct Scene {
    exits: Exits,
    reader: ExitReader,
    watcher: Watcher,
    backlog: Backlog,
}

impl Scene {
    async fn begin() -> Self {
        Self::inheriting(&[]).await
    }

    /// A reader that finds tasks which ended between two runs, each of such an age.
    async fn inheriting(ages: &[Duration]) -> Self {
        let backlog = Backlog::default();
        let kernel = scripted(&backlog);
        let listener = kernel.listen().unwrap();
        let inherited = InheritedListener { listener, cpus: cpu(0), read_at: WALL.get() };
        let inherited = (!ages.is_empty()).then_some(inherited);
        end_tasks(&backlog, ages);
        let clocks = Clocks::new(|| NOW.get(), || WALL.get());
        let (exits, mut reader) =
            Exits::stepped(Arc::new(kernel), CONFIG, 1 << 16, clocks, inherited);
        let selection = Selection::new(cpu(0), Scope::AllTasks, &cpu(0));
        let options = WatchOptions { start: Start::Last(u64::MAX), ..WatchOptions::default() };
        let watch = exits.watch(selection, options);
        // The command is queued before the reader runs.
        let (watcher, _) = tokio::join!(biased; watch, async { reader.step() });
        Self { exits, watcher: watcher.unwrap(), reader, backlog }
    }

    /// Tasks end that are so old.
    fn end_tasks(&self, ages: &[Duration]) {
        end_tasks(&self.backlog, ages);
    }

    /// Returns the delay accounting of the exits of the reader's next turn.
    fn turn(&mut self) -> Vec<v1::DelayAccounting> {
        assert!(self.reader.step() == Flow::Continue);
        reported(&mut self.watcher)
    }

    /// Returns the delay accounting of the exits that wait at the reader's end.
    fn end(mut self) -> Vec<v1::DelayAccounting> {
        self.exits.reader.stop(SocketDisposition::Close);
        self.reader.run();
        reported(&mut self.watcher)
    }
}

/// The kernel dates each by the clock as it is.
fn end_tasks(backlog: &Backlog, ages: &[Duration]) {
    let exits = ages.iter().map(|age| {
        let begin_time_s = i64::try_from((WALL.get() - *age).as_secs()).unwrap();
        let mut task = Stats { version: 16, ..Stats::default() };
        task.identity.task = Some(TaskIdentity { begin_time_s, ..TaskIdentity::default() });
        Exit { task, ..Exit::default() }
    });
    backlog.lock().unwrap().extend(exits);
}

fn reported(watcher: &mut Watcher) -> Vec<v1::DelayAccounting> {
    let mut reported = Vec::new();
    while let Some(WatchEvent::Exits { slices, .. }) = watcher.next().now_or_never() {
        let events = v1::ExitEvents::decode(&*slices.concat()).unwrap().events;
        reported.extend(events.iter().map(|event| event.task.as_ref().unwrap().delay_accounting()));
    }
    reported
}

fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
    WALL.set(WALL.get() + time);
}

/// One that had an account from its begin on, and one that began without.
const BOTH: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(90)];
/// The delay accounting of [`BOTH`].
const RIGHT: [v1::DelayAccounting; 2] = [On, Partial];
/// The times that the clock is set to, forward and back.
const SET_TO: [Duration; 2] = [NOON.saturating_add(HOUR), NOON.saturating_sub(HOUR)];

#[tokio::test]
async fn while_nobody_sets_the_clock_each_exit_is_judged() {
    let mut scene = Scene::begin().await;
    for _ in 0..5 {
        scene.end_tasks(&BOTH);
        assert_eq!(scene.turn(), RIGHT);
        pass(Duration::from_millis(300));
    }
}

/// The reader dated the switch by the clock as it was before. The switch is read again at once, and not
/// only with the next second.
#[tokio::test]
async fn a_clock_set_between_drains_is_that_of_the_exits_after_the_next_one() {
    for set_to in SET_TO {
        WALL.set(NOON);
        let mut scene = Scene::begin().await;
        scene.end_tasks(&BOTH);
        assert_eq!(scene.turn(), RIGHT);
        scene.end_tasks(&BOTH[..1]);
        WALL.set(set_to);
        scene.end_tasks(&BOTH[1..]);
        assert_eq!(scene.turn(), [Unknown; 2], "they began by one clock or the other");
        scene.end_tasks(&BOTH);
        assert_eq!(scene.turn(), RIGHT, "set to {set_to:?}");
    }
}

#[tokio::test]
async fn a_backlog_of_several_turns_is_judged_by_no_clock_if_it_was_set_meanwhile() {
    for set_to in SET_TO {
        WALL.set(NOON);
        let mut scene = Scene::begin().await;
        scene.end_tasks(&BOTH.repeat(TURN));
        WALL.set(set_to);
        // Longer than what was read of the switch stands for.
        for _ in 0..2 {
            assert_eq!(scene.turn(), [Unknown; TURN], "set to {set_to:?}");
            pass(2 * CHECK_INTERVAL);
        }
        scene.end_tasks(&BOTH);
        assert_eq!(scene.turn(), RIGHT, "set to {set_to:?}");
    }
}

#[tokio::test]
async fn the_last_exits_are_judged_by_no_clock_that_was_set_before_the_end() {
    for set_to in SET_TO {
        WALL.set(NOON);
        let mut scene = Scene::begin().await;
        assert_eq!(scene.turn(), []);
        scene.end_tasks(&BOTH);
        WALL.set(set_to);
        assert_eq!(scene.end(), [Unknown; 2], "set to {set_to:?}");
    }
}

/// The clock may be set between two runs, which no agent sees.
#[tokio::test]
async fn what_an_earlier_run_left_is_judged_by_no_clock() {
    let mut scene = Scene::inheriting(&BOTH.repeat(TURN)).await;
    assert_eq!([reported(&mut scene.watcher), scene.turn()].concat(), [Unknown; 2 * TURN]);
    scene.end_tasks(&BOTH);
    assert_eq!(scene.turn(), RIGHT);
}
