//! What the fuzz targets in `tests/fuzz` run, and the tests with their seeds. Not part of the agent.

use prost::Message;

use super::file::{self, State};
use crate::exits::fuzzing::history;

/// Reads a state file, and goes on with the history in it. The first byte says whether the others
/// are the file, or what stands behind its checksum; the second where a reader begins.
///
/// # Panics
/// When a file that is taken cannot be written as it was, or its history is not whole.
pub fn state(bytes: &[u8]) {
    let Some(([form, after], bytes)) = bytes.split_first_chunk() else { return };
    let body = if form % 2 == 0 { file::body(bytes) } else { Some(bytes) };
    let Some(state) = body.and_then(|body| State::decode(body).ok()) else { return };
    let written = state.encode_to_vec();
    let read = file::body(&[&file::header(&written), &written[..]].concat()).map(State::decode);
    assert_eq!(read, Some(Ok(state.clone())), "a file reads as it was written");
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
    fn every_seed_is_dealt_with() {
        seeds("state").iter().for_each(|seed| state(seed));
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
            let Some(mut body) = file::body(&chosen.get(&seeds)[2..]).map(<[u8]>::to_vec) else {
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
