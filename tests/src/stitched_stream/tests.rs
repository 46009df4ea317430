use super::*;
use crate::partial_decode::{Identity, Task};

fn cursor(sequence: u64) -> Cursor {
    Cursor { instance_id: "run".to_owned(), sequence }
}

/// Exits on CPU 0 when odd, on CPU 1 when even.
fn events(sequences: &[u64], end: u64) -> Kind {
    let event = |sequence: &u64| Event {
        sequence: *sequence,
        cpu: u32::from(sequence.is_multiple_of(2)),
        kernel_sequence: 0,
        task: Some(Task { identity: Some(Identity { pid: Some(7), tgid: Some(7) }) }),
        last_in_process: Some(true),
    };
    let events = sequences.iter().map(event).collect();
    Kind::Events(Events { events, cursor: Some(cursor(end)) })
}

fn lost(count: Option<u64>, total: u64, end: u64) -> Kind {
    let (stage, cursor) = (LostStage::History.into(), Some(cursor(end)));
    Kind::Lost(Lost { stage, count, total, cursor, ..Lost::default() })
}

fn stitched(kinds: &[Kind]) -> StitchedStream {
    let mut stitched = StitchedStream::begin(cursor(0));
    for kind in kinds {
        stitched.follow(kind).unwrap();
    }
    stitched
}

#[test]
fn a_trail_of_a_cpu_reconciles_with_one_of_everything() {
    let reference = stitched(&[events(&[1, 2, 3, 4, 5, 6, 7, 8], 8)]);
    reference.ensure_complete().unwrap();
    let cpu = Selection::of_cpu(1);
    for reported in [
        stitched(&[events(&[2, 4], 5), events(&[6, 8], 8)]),
        stitched(&[events(&[2], 3), lost(Some(2), 2, 7), events(&[8], 8)]),
        stitched(&[lost(Some(4), 4, 8)]),
    ] {
        assert_eq!(reported.reconcile(&cpu, &reference).unwrap(), 0);
    }
    let uncounted = stitched(&[lost(None, 0, 4), events(&[6, 8], 8)]);
    assert_eq!(uncounted.reconcile(&cpu, &reference).unwrap(), 1);
}

#[test]
fn every_kind_of_contradiction_is_noticed() {
    let reference = stitched(&[events(&[1, 2, 3, 4, 5, 6, 7, 8], 8)]);
    let cpu = Selection::of_cpu(1);
    for (contradiction, reported) in [
        ("a hole", stitched(&[events(&[2, 6, 8], 8)])),
        ("a hole at the end", stitched(&[events(&[2, 4, 6], 8)])),
        ("an exit of others", stitched(&[events(&[2, 3, 4, 6, 8], 8)])),
        ("a loss too large", stitched(&[lost(Some(3), 3, 4), events(&[6, 8], 8)])),
        ("a loss too small", stitched(&[lost(Some(1), 1, 4), events(&[6, 8], 8)])),
        ("an end beyond the reference", stitched(&[events(&[2, 4, 6, 8], 9)])),
    ] {
        assert!(reported.reconcile(&cpu, &reference).is_err(), "{contradiction} was not noticed");
    }
    let mut repeated = stitched(&[events(&[1, 2], 2)]);
    assert!(repeated.follow(&events(&[2], 2)).is_err());
    assert!(repeated.follow(&lost(Some(1), 2, 3)).is_err(), "a wrong total");
    assert!(stitched(&[events(&[1, 3], 3)]).ensure_complete().is_err());
}

#[test]
fn losses_of_one_interval_are_one_gap() {
    let reported = stitched(&[events(&[1], 1), lost(Some(2), 2, 5), lost(Some(2), 4, 5)]);
    assert_eq!(reported.gaps().len(), 1);
    reported.ensure_complete().unwrap();
    let mut cut = stitched(&[events(&[1, 2, 3], 3), lost(Some(2), 2, 5)]);
    cut.cut(2);
    assert_eq!((cut.position(), cut.exits().len(), cut.gaps().len()), (2, 2, 0));
}
