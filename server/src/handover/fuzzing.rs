//! What the fuzz targets in `tests/fuzz` run, and the tests with their seeds. Not part of the agent.

use std::io::Cursor;

use super::format;
use crate::exits::fuzzing::history;

/// Reads a state file, and appends to the history in it. The first byte determines whether the others
/// are the file, or what stands behind its checksum; the second where a reader begins.
///
/// # Panics
/// When a file that is taken cannot be written as it was, or its history is not whole.
pub fn state(bytes: &[u8]) {
    let Some(([form, after], bytes)) = bytes.split_first_chunk() else { return };
    let file = if form % 2 == 0 { bytes.to_vec() } else { format::sealed(bytes) };
    let Ok(state) = format::read(&mut Cursor::new(file)) else { return };
    let mut written = Cursor::new(Vec::new());
    format::write(&mut written, state.clone()).expect("memory can be written");
    written.set_position(0);
    let read = format::read(&mut written);
    assert_eq!(read.ok().as_ref(), Some(&state), "a file reads as it was written");
    history(state.history.unwrap_or_default(), u64::from(*after));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_seed_is_a_file_that_is_taken() {
        for seed in seeds("state") {
            let (control, bytes) = seed.split_at(2);
            let file = if control[0] % 2 == 0 { bytes.to_vec() } else { format::sealed(bytes) };
            assert!(format::read(&mut Cursor::new(file)).is_ok());
            state(&seed);
        }
    }

    proptest! {
        /// Files that an agent wrote, with some bytes behind the checksum changed.
        #[test]
        fn a_changed_history_is_refused_or_whole(
            chosen in any::<Index>(),
            changes in vec((any::<Index>(), any::<u8>()), 0..6),
            after in any::<u8>(),
        ) {
            let seeds = seeds("state");
            let Some(mut body) = format::body(&chosen.get(&seeds)[2..]).map(<[u8]>::to_vec) else {
                return Ok(());
            };
            for (place, byte) in changes {
                let place = place.index(body.len());
                body[place] = byte;
            }
            state(&[&[1, after], &body[..]].concat());
        }
    }
}
