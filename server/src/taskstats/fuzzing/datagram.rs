//! Arbitrary bytes as a datagram from a netlink socket.

use crate::netlink::{Attribute, MessageKind, Messages, attributes};
use crate::taskstats::wire::{decode_exit, decode_reply, stats_messages};
use crate::taskstats::{Exit, TaskId};

/// The CPU of the socket.
const CPU: u32 = 3;
/// The id in the query.
const ID: u32 = 77;

/// Decodes `datagram` as a listener and a query do.
///
/// # Panics
/// If a message is neither decoded nor counted, or if a part of the result lies outside the
/// datagram.
pub fn datagram(datagram: &[u8]) {
    let sequences = exit_sequences(datagram);
    let exits = stats_messages(datagram)
        .map(|(sequence, attributes)| decode_exit(attributes, CPU, sequence));
    let exits: Vec<_> = exits.collect();
    assert_eq!(exits.len(), sequences.len(), "each message is decoded or counted");
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

/// Returns the sequence numbers of all messages with `TASKSTATS_CMD_NEW`, found by an independent
/// parser.
fn exit_sequences(datagram: &[u8]) -> Vec<u32> {
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

/// Checks that each attribute and each nested attribute lies inside the datagram.
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

/// Checks that a truncated message has the same records or fewer.
fn check_part(attributes: &[u8], cut: usize) {
    let Some(part) = decode_exit(&attributes[..cut], CPU, 0) else { return };
    let whole = decode_exit(attributes, CPU, 0).expect("the prefix has a task's record");
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
    fn every_seed_passes() {
        seeds("netlink").iter().for_each(|seed| datagram(seed));
    }

    #[test]
    fn a_truncated_message_only_loses_records() {
        for seed in seeds("netlink") {
            for message in Messages::new(&seed) {
                if let MessageKind::Generic { attributes, .. } = message.kind() {
                    (0..=attributes.len()).for_each(|cut| check_part(attributes, cut));
                }
            }
        }
    }

    proptest! {
        /// Several messages of the kernel with some changed bytes, truncated anywhere.
        #[test]
        fn each_message_of_a_changed_datagram_is_decoded_or_counted(
            chosen in vec(any::<Index>(), 1..4),
            changes in vec((any::<Index>(), any::<u8>()), 0..8),
            cut in any::<Index>(),
        ) {
            let seeds = seeds("netlink");
            let mut bytes: Vec<u8> =
                chosen.iter().flat_map(|chosen| chosen.get(&seeds).clone()).collect();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            datagram(&bytes);
        }
    }
}
