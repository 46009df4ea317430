use proptest::collection::vec;
use proptest::prelude::*;

use super::{Entry, Header, ReadError, Reader, Totals, Writer};
use crate::taskstats::TaskId;

/// Bytes of the magic, behind which the format stands.
const FORMAT_AT: usize = 8;
/// Where the byte order mark stands.
const MARK_AT: usize = 10;

fn header() -> Header {
    Header {
        taskstats_version: 16,
        begun_at_ns: 1_700_000_000_000_000_001,
        kernel_release: "6.18.0-test".to_owned(),
        cpus: "0-3,8".to_owned(),
    }
}

fn entries() -> Vec<Entry> {
    let reply = |id| Entry::Reply { id, received_at_ns: 7, message: vec![5; 40] };
    vec![
        reply(TaskId::Pid(1)),
        reply(TaskId::Tgid(2)),
        Entry::Exit { cpu: 3, received_at_ns: 8, message: vec![6; 596] },
        Entry::Dropped { cpu: 3, noticed_at_ns: 9, count: 1 << 40 },
        Entry::Exit { cpu: 8, received_at_ns: 10, message: Vec::new() },
    ]
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header()).unwrap();
    entries.iter().for_each(|entry| writer.write(entry).unwrap());
    let totals = Totals { exits: 2, replies: 2, dropped: 1 << 40 };
    assert_eq!(writer.finish(11).unwrap(), totals);
    bytes
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Entry>), ReadError> {
    let reader = Reader::new(bytes)?;
    let header = reader.header().clone();
    Ok((header, reader.collect::<Result<_, _>>()?))
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read(&written(&entries())).unwrap(), (header(), entries()));
}

/// A disk that was full, a writer that was killed: it is seen wherever it happened.
#[test]
fn a_capture_that_ends_early_is_truncated() {
    let bytes = written(&entries());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ReadError::Truncated(_)), "cut to {length}: {error}");
    }
}

/// What came before the place where a capture ends early is there.
#[test]
fn a_truncated_capture_can_be_read_up_to_its_end() {
    let bytes = written(&entries());
    let read: Vec<_> = Reader::new(&bytes[..bytes.len() - 1]).unwrap().collect();
    let (last, whole) = read.split_last().unwrap();
    assert!(matches!(last, Err(ReadError::Truncated(_))), "{last:?}");
    assert_eq!(whole.iter().map(|entry| entry.as_ref().unwrap()).count(), entries().len());
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let bytes = written(&entries());
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        assert!(read(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn what_is_no_capture_is_told_from_one_that_this_build_cannot_read() {
    let bytes = written(&entries());
    assert!(matches!(read(b"\x7fELF and more").unwrap_err(), ReadError::NotACapture));
    let mut later = bytes.clone();
    later[FORMAT_AT] = 2;
    assert!(matches!(read(&later).unwrap_err(), ReadError::UnknownFormat(2)));
    let mut foreign = bytes.clone();
    foreign[MARK_AT..MARK_AT + 2].reverse();
    assert!(matches!(read(&foreign).unwrap_err(), ReadError::OtherByteOrder));
}

/// Each part has a checksum, and all of them are whole: the end notices that one is missing.
#[test]
fn a_missing_entry_is_noticed() {
    let (all, none) = (written(&entries()), {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, &header()).unwrap().finish(11).unwrap();
        bytes
    });
    let end = 1 + 4 + 8 + 4 + Totals::BYTES + 4;
    let header_only = &none[..none.len() - end];
    let forged = [header_only, &all[all.len() - end..]].concat();
    assert!(matches!(read(&forged).unwrap_err(), ReadError::Miscounted));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        keep in 0..400_usize,
        garbage in vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = written(&entries());
        bytes.truncate(keep);
        bytes.extend(garbage);
        // Damage is told once, and ends the reading.
        if let Ok(reader) = Reader::new(&bytes[..]) {
            let errors = reader.filter(Result::is_err).count();
            prop_assert!(errors <= 1);
        }
    }
}
