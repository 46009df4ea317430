//! Readers of any speed, selection and start account for every exit, whatever is evicted.

use proptest::prelude::*;
use prost::Message;
use taskstats_proto::v1;

use super::chunk::ChunkBuilder;
use super::selection::{ExitKind, Scope};
use super::snapshot::{ItemSnapshot, TotalsSnapshot};
use super::*;
use crate::taskstats::{DelayAccounting, Exit, Identity, Stats, TaskIdentity};
use crate::workload::CgroupTable;

const CPUS: u32 = 3;
/// Holds a few chunks only, so that readers are overtaken all the time.
const CAPACITY: usize = 16 * 1024;
/// `AGROUP`: the last task of its group.
const LAST_OF_GROUP: u8 = 0x20;

/// An appended exit, to be compared with what readers receive.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    cpu: u32,
    kind: ExitKind,
    /// True if the kernel dropped it.
    dropped: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Exits(Vec<(u32, bool)>),
    Lost(u32, u64),
    /// Reader `n` reads so many times.
    Read(usize, usize),
    /// Reader `n` leaves, and resumes after its last cursor.
    Reconnect(usize),
    /// The agent is restarted with all it remembers.
    Restart,
}

/// A reader and the account it has to keep.
struct Reader {
    selection: Selection,
    cursor: ReadCursor,
    began_after: u64,
    received: Vec<u64>,
    reported_lost: u64,
    reported_unknown: bool,
}

fn exit(cpu: u32, last: bool) -> Exit {
    let flags = if last { LAST_OF_GROUP } else { 0 };
    let task = TaskIdentity { flags, ..TaskIdentity::default() };
    let identity = Identity { task: Some(task), ..Identity::default() };
    Exit { cpu, task: Stats { version: 16, identity, ..Stats::default() }, ..Exit::default() }
}

fn possible() -> Cpumask {
    (0..CPUS).collect()
}

fn append(history: &History, exits: &[(u32, bool)], sent: &mut Vec<Sent>) {
    let first = history.next_sequence();
    let mut builder = ChunkBuilder::default();
    for (sequence, (cpu, last)) in (first..).zip(exits) {
        let exit = exit(*cpu, *last);
        builder.push(&exit, first, Duration::ZERO, DelayAccounting::Off);
        sent.push(Sent { sequence, cpu: *cpu, kind: ExitKind::from(&exit), dropped: false });
    }
    history.append_exits(builder.build(first, &CgroupTable::default()));
}

fn append_lost(history: &History, cpu: u32, count: u64, sent: &mut Vec<Sent>) {
    let first = history.next_sequence();
    let lost = (first..first + count).map(|sequence| Sent {
        sequence,
        cpu,
        kind: ExitKind::Unknown,
        dropped: true,
    });
    sent.extend(lost);
    let (first_at, last_at) = (Duration::ZERO, Duration::ZERO);
    history.append_lost(KernelLoss {
        cpu,
        count,
        first_at,
        last_at,
        by_cgroup: CgroupCounts::default(),
    });
}

impl Reader {
    fn new(history: &History, selection: Selection) -> Self {
        let cursor = history.begin(Start::Now, &selection, Duration::ZERO).unwrap().cursor;
        let began_after = cursor.cursor();
        Self {
            selection,
            cursor,
            began_after,
            received: Vec::new(),
            reported_lost: 0,
            reported_unknown: false,
        }
    }

    /// Reads once; false at the end.
    fn read(&mut self, history: &History) -> bool {
        match history.read(&mut self.cursor, &self.selection) {
            ReadOutcome::Nothing => return false,
            ReadOutcome::Exits { slices, count, .. } => {
                let events = v1::ExitEvents::decode(&*slices.concat()).unwrap().events;
                assert_eq!(events.len() as u64, count);
                self.received.extend(events.iter().map(|event| event.sequence));
            }
            ReadOutcome::Lost(loss) => self.reported_lost += loss.count,
            ReadOutcome::Evicted { count, .. } => {
                self.reported_lost += count.expect("everything was watched");
            }
            ReadOutcome::Unwatched { .. } => panic!("everything was watched"),
        }
        true
    }

    fn reconnect(&mut self, history: &History) {
        let start = Start::After(self.cursor.cursor());
        let begin = history.begin(start, &self.selection, Duration::ZERO).unwrap();
        self.cursor = begin.cursor;
        if let Some(missed) = begin.missed {
            // Far beyond what is remembered, the number is forgotten, and the reader receives none.
            self.reported_unknown |= missed.count.is_none();
            self.reported_lost += missed.count.unwrap_or(0);
        }
    }

    /// Reads to the end and compares with what was sent.
    fn check(mut self, history: &History, sent: &[Sent]) {
        while self.read(history) {}
        let wanted = |it: &&Sent| {
            it.sequence > self.began_after
                && self.selection.cpus().contains(it.cpu)
                && (it.dropped || self.selection.scope().includes(it.kind))
        };
        let wanted: Vec<Sent> = sent.iter().filter(wanted).copied().collect();
        assert!(self.received.is_sorted_by(|a, b| a < b), "in order, without duplicates");
        let real = |sequence: &u64| wanted.iter().any(|it| it.sequence == *sequence && !it.dropped);
        assert!(self.received.iter().all(real), "only what was sent and selected");
        let accounted = self.received.len() as u64 + self.reported_lost;
        if self.reported_unknown {
            assert!(accounted <= wanted.len() as u64, "never more than was sent");
        } else {
            assert_eq!(accounted, wanted.len() as u64, "received + lost = sent");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let exits = proptest::collection::vec((0..CPUS, any::<bool>()), 1..20);
    prop_oneof![
        4 => exits.prop_map(Step::Exits),
        1 => (0..CPUS, 1..50_u64).prop_map(|(cpu, count)| Step::Lost(cpu, count)),
        4 => (0..4_usize, 1..4_usize).prop_map(|(reader, times)| Step::Read(reader, times)),
        1 => (0..4_usize).prop_map(Step::Reconnect),
    ]
}

fn selections() -> impl Strategy<Value = Vec<Selection>> {
    let scope = prop_oneof![Just(Scope::AllTasks), Just(Scope::Processes), Just(Scope::Threads)];
    let selection = (1..1_u32 << CPUS, scope).prop_map(|(bits, scope)| {
        let cpus = (0..CPUS).filter(|cpu| bits & 1 << cpu != 0).collect();
        Selection::new(cpus, scope, &possible())
    });
    proptest::collection::vec(selection, 4)
}

fn run(steps: Vec<Step>, selections: Vec<Selection>) {
    let mut history = History::new(CAPACITY, CPUS as usize, Arc::default());
    let mut sent = Vec::new();
    append(&history, &[(0, true)], &mut sent);
    let mut readers: Vec<Reader> =
        selections.into_iter().map(|selection| Reader::new(&history, selection)).collect();
    for step in steps {
        match step {
            Step::Exits(exits) => append(&history, &exits, &mut sent),
            Step::Lost(cpu, count) => append_lost(&history, cpu, count, &mut sent),
            Step::Read(reader, times) => {
                (0..times).for_each(|_| _ = readers[reader].read(&history));
            }
            Step::Reconnect(reader) => readers[reader].reconnect(&history),
            Step::Restart => {
                let saved = HistorySnapshot::decode(&*history.snapshot().encode_to_vec()).unwrap();
                history = History::restore(saved, CAPACITY, CPUS as usize, Arc::default()).unwrap();
            }
        }
        let report = history.report();
        assert!(report.bytes <= CAPACITY, "{report:?}");
    }
    for reader in readers {
        reader.check(&history, &sent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn received_and_lost_are_what_was_sent(
        steps in proptest::collection::vec(step(), 1..80),
        selections in selections(),
    ) {
        run(steps, selections);
    }

    /// A restart in the middle changes nothing for readers that stay connected by cursor.
    #[test]
    fn a_restored_history_goes_on(
        before in proptest::collection::vec(step(), 1..40),
        after in proptest::collection::vec(step(), 1..5),
        selections in selections(),
    ) {
        let reads = (0..4).map(|reader| Step::Read(reader, 1000));
        let steps = before.into_iter().chain(reads).chain([Step::Restart]).chain(after);
        run(steps.collect(), selections);
    }

    /// `Last(n)` gives the newest `n` of the selection, or all that are remembered.
    #[test]
    fn the_last_ones_are_the_newest_of_the_selection(
        exits in proptest::collection::vec((0..CPUS, any::<bool>()), 1..200),
        selections in selections(),
        count in 0..100_usize,
    ) {
        let history = History::new(1 << 20, CPUS as usize, Arc::default());
        let mut sent = Vec::new();
        exits.chunks(7).for_each(|exits| append(&history, exits, &mut sent));
        for selection in selections {
            let taken = |it: &&Sent| selection.includes(it.cpu, it.kind);
            let all: Vec<u64> = sent.iter().filter(taken).map(|it| it.sequence).collect();
            let expected = &all[all.len().saturating_sub(count)..];
            let mut reader = Reader::new(&history, selection.clone());
            let begin = history.begin(Start::Last(count as u64), &selection, Duration::ZERO).unwrap();
            reader.cursor = begin.cursor;
            while reader.read(&history) {}
            prop_assert_eq!(&reader.received[..], expected);
        }
    }
}

/// A cursor before a time without a listener reads a loss; one after it does not.
#[test]
fn an_unwatched_time_is_reported_to_those_who_were_there_before() {
    let history = History::new(CAPACITY, CPUS as usize, Arc::default());
    let mut sent = Vec::new();
    append(&history, &[(0, true)], &mut sent);
    let selection =
        |cpus: &[u32]| Selection::new(cpus.iter().copied().collect(), Scope::AllTasks, &possible());
    let before = Start::After(history.next_sequence() - 1);
    history.append_unwatched([0, 1].into_iter().collect(), Duration::ZERO);
    let after = Start::After(history.next_sequence() - 1);
    let first = |start, selection: &Selection| {
        let mut cursor = history.begin(start, selection, Duration::ZERO).unwrap().cursor;
        history.read(&mut cursor, selection)
    };
    assert!(matches!(first(before, &selection(&[0])), ReadOutcome::Unwatched { .. }));
    assert!(matches!(first(before, &selection(&[2])), ReadOutcome::Nothing));
    assert!(matches!(first(after, &selection(&[0])), ReadOutcome::Nothing));
}

/// The loss is reported even when its item was evicted before the reader reached it.
#[test]
fn an_unwatched_time_that_was_evicted_is_reported() {
    let history = History::new(CAPACITY, CPUS as usize, Arc::default());
    let mut sent = Vec::new();
    append(&history, &[(0, true)], &mut sent);
    let selection = Selection::new([0].into_iter().collect(), Scope::AllTasks, &possible());
    let other = Selection::new([2].into_iter().collect(), Scope::AllTasks, &possible());
    let mut connected = history.begin(Start::After(1), &selection, Duration::ZERO).unwrap().cursor;
    let mut elsewhere = history.begin(Start::After(1), &other, Duration::ZERO).unwrap().cursor;
    history.append_unwatched([0, 1].into_iter().collect(), Duration::ZERO);
    while history.report().first_sequence < 4 {
        append(&history, &[(1, true), (2, true)], &mut sent);
    }
    let reported = history.read(&mut connected, &selection);
    assert!(matches!(reported, ReadOutcome::Evicted { count: None, .. }), "{reported:?}");
    let reported = history.read(&mut elsewhere, &other);
    assert!(matches!(reported, ReadOutcome::Evicted { count: Some(_), .. }), "{reported:?}");
    let resumed = history.begin(Start::After(1), &selection, Duration::ZERO).unwrap();
    assert_eq!(resumed.missed.map(|missed| missed.count), Some(None));
}

/// A snapshot that contradicts itself is refused.
#[test]
fn a_history_with_a_hole_is_not_restored() {
    let history = History::new(CAPACITY, CPUS as usize, Arc::default());
    let mut sent = Vec::new();
    for _ in 0..3 {
        append(&history, &[(0, true), (1, false)], &mut sent);
    }
    let saved = history.snapshot();
    let restore =
        |saved: HistorySnapshot| History::restore(saved, CAPACITY, CPUS as usize, Arc::default());
    assert!(restore(saved.clone()).is_ok());
    let mut hole = saved.clone();
    hole.items.remove(1);
    let mut cut = saved.clone();
    cut.items.pop();
    let mut short = saved.clone();
    short.items[0].bytes = short.items[0].bytes.slice(1..);
    let mut foreign = saved.clone();
    foreign.items[0].cpus[0] = CPUS;
    let mut kind = saved;
    kind.items[0].kinds[0] = 3;
    for damaged in [hole, cut, short, foreign, kind] {
        assert!(restore(damaged).is_err());
    }
}

/// Numbers that would overflow a sum later, or lead a reader before the beginning, are refused at once.
#[test]
fn a_history_with_impossible_numbers_is_not_restored() {
    let loss = |first, lost| ItemSnapshot { first, lost, cpus: vec![1], ..ItemSnapshot::default() };
    let saved = |next, items| HistorySnapshot { next, items, ..HistorySnapshot::default() };
    let evicted = |totals| HistorySnapshot { evicted: vec![totals], ..saved(9, vec![loss(5, 4)]) };
    let totals = TotalsSnapshot { cpu: 1, exits: vec![1, 1, 1], lost: 1, unwatched: 4 };
    let restore =
        |saved: HistorySnapshot| History::restore(saved, CAPACITY, CPUS as usize, Arc::default());
    assert!(restore(saved(5, vec![loss(1, 4)])).is_ok());
    assert!(restore(evicted(totals.clone())).is_ok());
    for (name, damaged) in [
        ("before the first", saved(4, vec![loss(0, 4)])),
        ("nothing, before the first", saved(0, Vec::new())),
        ("too far", saved(u64::MAX, Vec::new())),
        ("overflow", saved(3, vec![loss(4, u64::MAX)])),
        ("no CPU", saved(2, vec![ItemSnapshot { first: 1, ..ItemSnapshot::default() }])),
        ("more than there was", evicted(TotalsSnapshot { lost: 2, ..totals.clone() })),
        ("overflowing sum", evicted(TotalsSnapshot { lost: u64::MAX, ..totals.clone() })),
        ("a mark that is not past", evicted(TotalsSnapshot { unwatched: 5, ..totals })),
    ] {
        assert!(restore(damaged).is_err(), "{name}");
    }
}
