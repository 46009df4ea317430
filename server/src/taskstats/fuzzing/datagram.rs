//! Any bytes in place of what a netlink socket gives.

use crate::netlink::{Attribute, MessageKind, Messages, attributes};
use crate::taskstats::wire::{decode_exit, decode_reply, stats_messages};
use crate::taskstats::{Exit, TaskId};

/// Where the datagram is said to come from.
const CPU: u32 = 3;
/// Whom the reply is said to be about.
const ID: u32 = 77;

/// Takes `datagram` as a listener and a query do.
///
/// # Panics
/// When a message is neither told nor counted, or something beyond the datagram is.
pub fn datagram(datagram: &[u8]) {
    let sequences = news(datagram);
    let exits = stats_messages(datagram)
        .map(|(sequence, attributes)| decode_exit(attributes, CPU, sequence));
    let exits: Vec<_> = exits.collect();
    assert_eq!(exits.len(), sequences.len(), "each message is an exit, or one that cannot be read");
    for (exit, sequence) in exits.iter().zip(sequences) {
        exit.iter().for_each(|exit| check_exit(exit, sequence));
    }
    for message in Messages::new(datagram) {
        if let MessageKind::Generic { attributes, .. } = message.kind() {
            check_inside(attributes, datagram);
            check_attributes(attributes, datagram);
            check_replies(attributes);
            check_part(attributes, message.header.sequence as usize % (attributes.len() + 1));
        }
    }
}

fn check_exit(exit: &Exit, sequence: u32) {
    assert_eq!((exit.cpu, exit.kernel_sequence), (CPU, sequence));
    if let Some(process) = &exit.process {
        assert!(process.identity.tgid.is_some(), "a group without its id");
    }
}

/// The sequences of all messages with `TASKSTATS_CMD_NEW`, by a walk of its own.
fn news(datagram: &[u8]) -> Vec<u32> {
    let number = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| datagram[at + i]));
    let mut found = Vec::new();
    let mut at = 0;
    while at + 16 <= datagram.len() {
        let length = number(at) as usize;
        if length < 16 || length > datagram.len() - at {
            break;
        }
        let kind = u16::from_ne_bytes([datagram[at + 4], datagram[at + 5]]);
        if kind != 2 && length >= 20 && datagram[at + 16] == 2 {
            found.push(number(at + 8));
        }
        at += length.div_ceil(4) * 4;
    }
    found
}

/// Each attribute lies inside the datagram, and so does what is nested in it.
fn check_attributes(bytes: &[u8], datagram: &[u8]) {
    for Attribute { payload, .. } in attributes(bytes) {
        check_inside(payload, datagram);
        for nested in attributes(payload) {
            check_inside(nested.payload, datagram);
        }
    }
}

fn check_inside(part: &[u8], whole: &[u8]) {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    assert!(whole.start <= part.start && part.end <= whole.end, "bytes beyond the datagram");
}

/// A message that is cut has the same records, or lacks one.
fn check_part(attributes: &[u8], cut: usize) {
    let Some(part) = decode_exit(&attributes[..cut], CPU, 0) else { return };
    let whole = decode_exit(attributes, CPU, 0).expect("the part has a task's record");
    assert_eq!(part.task, whole.task);
    assert!(part.process.is_none() || part.process == whole.process, "another group's record");
}

fn check_replies(attributes: &[u8]) {
    if let Some(group) = decode_reply(attributes, TaskId::Tgid(ID)) {
        assert_eq!((group.identity.tgid, group.identity.pid), (Some(ID), None));
    }
    if let Some(task) = decode_reply(attributes, TaskId::Pid(ID)) {
        assert!(task.unknown_tail.len() <= attributes.len());
    }
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
        seeds("netlink").iter().for_each(|seed| datagram(seed));
    }

    #[test]
    fn a_message_cut_anywhere_only_loses_records() {
        for seed in seeds("netlink") {
            for message in Messages::new(&seed) {
                if let MessageKind::Generic { attributes, .. } = message.kind() {
                    (0..=attributes.len()).for_each(|cut| check_part(attributes, cut));
                }
            }
        }
    }

    proptest! {
        /// Messages of the kernel, some bytes of them changed, cut anywhere, one after the other.
        #[test]
        fn a_changed_datagram_is_told_or_counted_and_never_left(
            chosen in vec(any::<Index>(), 1..4),
            changes in vec((any::<Index>(), any::<u8>()), 0..8),
            cut in any::<Index>(),
        ) {
            let seeds = seeds("netlink");
            let mut bytes: Vec<u8> =
                chosen.iter().flat_map(|chosen| chosen.get(&seeds).clone()).collect();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            datagram(&bytes);
        }
    }
}
