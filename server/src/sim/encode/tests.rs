//! What is built is what a C compiler would lay out, and decodes to what it was built from.

use super::*;
use crate::taskstats::{Provenance, decode};
use crate::taskstats::{expected, raw};

fn build(stats: &Stats) -> Vec<u8> {
    let mut record = Vec::new();
    encode_record(stats, &mut record);
    record
}

/// What a struct holds between its fields in these tests.
const PADDING: u8 = 0xee;

/// The struct that was laid out field by field, from the header and not from the table, has the same
/// byte at every place but for padding, what stands behind the name, and the narrow begin time, which
/// is another one there.
#[test]
fn every_byte_stands_where_the_header_puts_it() {
    for version in 8..=17 {
        let (built, laid_out) = (build(&expected(version)), raw(version, false));
        assert_eq!(built.len(), laid_out.len());
        let narrow_begin = Layout::of_version(version).place(offset::BTIME);
        let comm = Layout::of_version(version).place(offset::COMM);
        for (at, (built, laid_out)) in built.iter().zip(&laid_out).enumerate() {
            let is_other = (narrow_begin..narrow_begin + 4).contains(&at)
                || (comm + 9..comm + 32).contains(&at);
            assert!(is_other || *laid_out == PADDING || built == laid_out, "v{version} at {at}");
        }
    }
}

#[test]
fn what_is_built_decodes_to_the_same() {
    for version in 8..=17 {
        let mut stats = expected(version);
        stats.unknown_tail = vec![1, 2, 3];
        assert_eq!(decode(&build(&stats), Provenance::ExitedTask), stats, "version {version}");
    }
}

/// Fields that a version lacks are left out, whatever the account has.
#[test]
fn an_older_struct_has_less() {
    let stats = Stats { version: 8, ..expected(17) };
    assert_eq!(decode(&build(&stats), Provenance::ExitedTask), {
        let mut older = expected(8);
        older.identity.task.as_mut().unwrap().begin_time_s = 1_700_000_002;
        older
    });
}
