//! An encoded record has the layout of a C compiler, and decodes to the same statistics.

use super::*;
use crate::taskstats::{Provenance, decode};
use crate::taskstats::{expected, raw};

fn encode(stats: &Stats) -> Vec<u8> {
    let mut record = Vec::new();
    encode_record(stats, &mut record);
    record
}

/// The padding between fields in these tests.
const PADDING: u8 = 0xee;

/// Compares with the struct that was laid out field by field from the header, and not from the
/// table of offsets. Padding, the bytes after the name, and the narrow start time, which has
/// another value there, differ.
#[test]
fn every_byte_is_at_the_offset_of_the_header() {
    for version in 8..=17 {
        let (encoded, laid_out) = (encode(&expected(version)), raw(version, false));
        assert_eq!(encoded.len(), laid_out.len());
        let narrow_begin = Layout::of_version(version).offset(offset::BTIME);
        let comm = Layout::of_version(version).offset(offset::COMM);
        for (at, (encoded, laid_out)) in encoded.iter().zip(&laid_out).enumerate() {
            let is_other = (narrow_begin..narrow_begin + 4).contains(&at)
                || (comm + 9..comm + 32).contains(&at);
            assert!(is_other || *laid_out == PADDING || encoded == laid_out, "v{version} at {at}");
        }
    }
}

#[test]
fn an_encoded_record_decodes_to_the_same_statistics() {
    for version in 8..=17 {
        let mut stats = expected(version);
        stats.unknown_tail = vec![1, 2, 3];
        assert_eq!(decode(&encode(&stats), Provenance::ExitedTask), stats, "version {version}");
    }
}

/// Fields that a version lacks are omitted.
#[test]
fn an_older_version_omits_fields() {
    let stats = Stats { version: 8, ..expected(17) };
    assert_eq!(decode(&encode(&stats), Provenance::ExitedTask), {
        let mut older = expected(8);
        older.identity.task.as_mut().unwrap().begin_time_s = 1_700_000_002;
        older
    });
}
