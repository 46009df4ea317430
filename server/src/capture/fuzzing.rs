//! The function that the fuzz target `capture` calls, and the tests with its seeds. The agent does
//! not contain it.

use super::{CaptureEntry, CaptureReader, CaptureWriter, ReadError};
use crate::taskstats::fuzzing::datagram;

/// Reads a capture, decodes its messages, and writes it again. With `--cfg fuzzing` checksums are
/// ignored, because a fuzzer cannot guess them.
///
/// # Panics
/// If a complete capture differs after it was written again.
pub fn capture(bytes: &[u8]) {
    let Ok(reader) = CaptureReader::new(bytes) else { return };
    let header = reader.header().clone();
    let entries: Result<Vec<CaptureEntry>, ReadError> = reader.collect();
    let Ok(entries) = entries else { return };
    for entry in &entries {
        if let CaptureEntry::Exit { message, .. } | CaptureEntry::Reply { message, .. } = entry {
            datagram(message);
        }
    }
    let mut written = Vec::new();
    let mut writer = CaptureWriter::new(&mut written, &header).expect("a header that was read");
    entries.iter().for_each(|entry| writer.write(entry).expect("an entry that was read"));
    writer.finish(0).expect("an end");
    let again = CaptureReader::new(&written[..]).expect("what was written");
    assert_eq!(*again.header(), header);
    let again: Vec<CaptureEntry> = again.map(|entry| entry.expect("an entry as written")).collect();
    assert_eq!(again, entries);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_passes() {
        seeds("capture").iter().for_each(|seed| capture(seed));
    }

    proptest! {
        /// Damage to a capture ends it and never makes the reader panic.
        #[test]
        fn a_changed_capture_never_panics(
            chosen in any::<Index>(),
            change in (any::<Index>(), any::<u8>()),
            cut in any::<Index>(),
        ) {
            let seeds = seeds("capture");
            let mut bytes = chosen.get(&seeds).clone();
            let index = change.0.index(bytes.len());
            bytes[index] = change.1;
            bytes.truncate(cut.index(bytes.len() + 1));
            capture(&bytes);
        }
    }
}
