use proptest::collection::vec;
use proptest::prelude::*;

use super::{CaptureEntry, CaptureHeader, CaptureReader, CaptureTotals, CaptureWriter, ReadError};
use crate::netlink::{MessageKind, Messages, attributes};
use crate::taskstats::{Provenance, TaskId, decode, decode_swapped, swap};

/// `TASKSTATS_TYPE_STATS`.
const TYPE_STATS: u16 = 3;
/// `TASKSTATS_TYPE_AGGR_TGID`.
const TYPE_AGGREGATE_TGID: u16 = 5;

/// The offset of the format version, after the magic.
const FORMAT_AT: usize = 8;
/// The offset of the byte order mark.
const MARK_AT: usize = 10;

fn header() -> CaptureHeader {
    CaptureHeader {
        taskstats_version: 16,
        begun_at_ns: 1_700_000_000_000_000_001,
        kernel_release: "6.18.0-test".to_owned(),
        cpus: "0-3,8".to_owned(),
    }
}

fn entries() -> Vec<CaptureEntry> {
    let reply = |id| CaptureEntry::Reply { id, received_at_ns: 7, message: vec![5; 40] };
    vec![
        reply(TaskId::Pid(1)),
        reply(TaskId::Tgid(2)),
        CaptureEntry::Exit { cpu: 3, received_at_ns: 8, message: vec![6; 596] },
        CaptureEntry::Dropped { cpu: 3, noticed_at_ns: 9, count: 1 << 40 },
        CaptureEntry::Exit { cpu: 8, received_at_ns: 10, message: Vec::new() },
    ]
}

fn written(entries: &[CaptureEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = CaptureWriter::new(&mut bytes, &header()).unwrap();
    entries.iter().for_each(|entry| writer.write(entry).unwrap());
    let totals = CaptureTotals { exits: 2, replies: 2, dropped: 1 << 40 };
    assert_eq!(writer.finish(11).unwrap(), totals);
    bytes
}

fn read(bytes: &[u8]) -> Result<(CaptureHeader, Vec<CaptureEntry>), ReadError> {
    let reader = CaptureReader::new(bytes)?;
    let header = reader.header().clone();
    Ok((header, reader.collect::<Result<_, _>>()?))
}

#[test]
fn a_written_capture_is_read_back() {
    assert_eq!(read(&written(&entries())).unwrap(), (header(), entries()));
}

/// The end is missing wherever the file was cut, for example by a full disk or a killed writer.
#[test]
fn a_capture_that_ends_early_is_truncated() {
    let bytes = written(&entries());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ReadError::Truncated(_)), "cut to {length}: {error}");
    }
}

#[test]
fn the_entries_before_a_truncation_are_read() {
    let bytes = written(&entries());
    let read: Vec<_> = CaptureReader::new(&bytes[..bytes.len() - 1]).unwrap().collect();
    let (last, whole) = read.split_last().unwrap();
    assert!(matches!(last, Err(ReadError::Truncated(_))), "{last:?}");
    let whole: Vec<_> = whole.iter().map(|entry| entry.as_ref().unwrap().clone()).collect();
    assert_eq!(whole, entries());
}

#[test]
fn every_changed_byte_is_detected() {
    let bytes = written(&entries());
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        assert!(read(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn other_files_and_unsupported_captures_have_different_errors() {
    let bytes = written(&entries());
    assert!(matches!(read(b"\x7fELF and more").unwrap_err(), ReadError::NotACapture));
    let mut later = bytes.clone();
    later[FORMAT_AT] = 2;
    assert!(matches!(read(&later).unwrap_err(), ReadError::UnknownFormat(2)));
    let mut foreign = bytes.clone();
    foreign[MARK_AT..MARK_AT + 2].reverse();
    assert!(matches!(read(&foreign).unwrap_err(), ReadError::OtherByteOrder));
}

/// Each part is complete and has a valid checksum; the counts at the end reveal the missing one.
#[test]
fn a_missing_entry_is_detected() {
    let (all, none) = (written(&entries()), {
        let mut bytes = Vec::new();
        CaptureWriter::new(&mut bytes, &header()).unwrap().finish(11).unwrap();
        bytes
    });
    let end = 1 + 4 + 8 + 4 + CaptureTotals::BYTES + 4;
    let header_only = &none[..none.len() - end];
    let forged = [header_only, &all[all.len() - end..]].concat();
    assert!(matches!(read(&forged).unwrap_err(), ReadError::Miscounted));
}

/// Records of real kernels decode to the same statistics on a machine of the other byte order.
#[test]
fn captured_records_decode_the_same_in_the_other_byte_order() {
    for version in [10, 13, 14, 16, 17] {
        let path = format!("{}/tests/captures/v{version}.capture", env!("CARGO_MANIFEST_DIR"));
        let capture = CaptureReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let mut records = 0;
        for entry in capture {
            let (CaptureEntry::Exit { message, .. } | CaptureEntry::Reply { message, .. }) =
                entry.unwrap()
            else {
                continue;
            };
            for (record, provenance) in records_of(&message, version) {
                let foreign = swap(record, version);
                assert_ne!(foreign, record);
                assert_eq!(decode_swapped(&foreign, provenance), decode(record, provenance));
                records += 1;
            }
        }
        assert!(records > 20, "v{version}: {records} records");
    }
}

/// Returns the records of a message with their provenance.
fn records_of(message: &[u8], version: u16) -> Vec<(&[u8], Provenance)> {
    let mut records = Vec::new();
    for message in Messages::new(message) {
        let MessageKind::Generic { attributes: nests, .. } = message.kind() else { continue };
        for nest in attributes(nests) {
            let is_group = nest.kind == TYPE_AGGREGATE_TGID;
            let group = Provenance::ExitedGroup { tgid: 1, version_if_unset: version };
            let provenance = if is_group { group } else { Provenance::ExitedTask };
            let stats = attributes(nest.payload).find(|inner| inner.kind == TYPE_STATS);
            records.extend(stats.map(|stats| (stats.payload, provenance)));
        }
    }
    records
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        keep in 0..400_usize,
        garbage in vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = written(&entries());
        bytes.truncate(keep);
        bytes.extend(garbage);
        // Damage is reported once, and ends the reading.
        if let Ok(reader) = CaptureReader::new(&bytes[..]) {
            let errors = reader.filter(Result::is_err).count();
            prop_assert!(errors <= 1);
        }
    }
}
