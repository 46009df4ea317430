//! Removes fields from encoded exits without decoding them into messages.
//!
//! Exits are encoded once for all watchers. A watcher that may not see some fields gets a copy of
//! the bytes without them. Decoding and encoding each event for each such watcher would hold up the
//! event loop: it costs about seven times as much as copying the bytes between the removed fields
//! (`cargo bench -p taskstatsd --bench codec`).

use super::field::{exit_event, exit_events, identity, process_totals, task_stats};
use super::wire::{CONTINUATION, LENGTH_DELIMITED, VARINT_BITS, read_field};

/// The fields that are removed from the statistics of each task and process.
///
/// The bytes behind the known part of the kernel's struct are removed in any case, because their
/// meaning is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HiddenFields {
    /// The command name.
    pub comm: bool,
    /// The user id and the group id.
    pub ids: bool,
    /// The device and the inode of the executable.
    pub executable: bool,
    /// The I/O counters.
    pub io: bool,
}

/// Bytes that are not an encoded `ExitEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not an encoded `ExitEvents`")]
pub struct MalformedEvents;

/// The messages that contain fields which can be hidden.
#[derive(Clone, Copy)]
enum Message {
    ExitEvents,
    ExitEvent,
    TaskStats,
    ProcessTotals,
    Identity,
}

/// The treatment of one field.
enum Action {
    Copy,
    Remove,
    /// Copies the nested message without its hidden fields.
    Enter(Message),
}

impl Message {
    #[inline(always)]
    fn action(self, number: u64, hidden: HiddenFields) -> Action {
        let Ok(number) = u8::try_from(number) else { return Action::Copy };
        let removed = match (self, number) {
            (Self::ExitEvents, exit_events::EVENTS) => return Action::Enter(Self::ExitEvent),
            (Self::ExitEvent, exit_event::TASK | exit_event::PROCESS) => {
                return Action::Enter(Self::TaskStats);
            }
            (Self::ExitEvent, exit_event::PROCESS_TOTALS) if hidden.io => {
                return Action::Enter(Self::ProcessTotals);
            }
            (Self::TaskStats, task_stats::IDENTITY) if hidden.comm || hidden.ids => {
                return Action::Enter(Self::Identity);
            }
            (Self::TaskStats, task_stats::UNKNOWN_TAIL) => true,
            (Self::TaskStats, task_stats::EXECUTABLE) => hidden.executable,
            (Self::TaskStats, task_stats::IO) | (Self::ProcessTotals, process_totals::IO) => {
                hidden.io
            }
            (Self::Identity, identity::COMM) => hidden.comm,
            (Self::Identity, identity::UID | identity::GID) => hidden.ids,
            _ => false,
        };
        if removed { Action::Remove } else { Action::Copy }
    }
}

/// Appends a copy of encoded entries of `ExitEvents.events` to `out`, without the hidden fields.
///
/// # Errors
/// Fails when `events` is not an encoded `ExitEvents`. `out` then ends with a part of the copy.
///
/// ```
/// use std::time::Duration;
/// use prost::Message;
/// use taskstats_proto::v1;
/// use taskstatsd::encode::{HiddenFields, encode_event, remove_fields};
/// use taskstatsd::taskstats::{DelayAccounting, Exit};
///
/// let mut exit = Exit::default();
/// exit.task.io = Some(Default::default());
/// let (mut encoded, mut redacted) = (Vec::new(), Vec::new());
/// encode_event(&mut encoded, &exit, 7, Duration::ZERO, DelayAccounting::Off);
/// let hidden = HiddenFields { io: true, ..HiddenFields::default() };
/// remove_fields(&encoded, hidden, &mut redacted).unwrap();
/// let events = v1::ExitEvents::decode(&*redacted).unwrap().events;
/// assert_eq!(events[0].task.as_ref().unwrap().io, None);
/// ```
pub fn remove_fields(
    events: &[u8],
    hidden: HiddenFields,
    out: &mut Vec<u8>,
) -> Result<(), MalformedEvents> {
    copy_message(Message::ExitEvents, events, hidden, out)
}

/// Copies a message in runs between the removed fields. The recursion is as deep as [`Message`] has
/// variants.
fn copy_message(
    message: Message,
    input: &[u8],
    hidden: HiddenFields,
    out: &mut Vec<u8>,
) -> Result<(), MalformedEvents> {
    let (mut copied, mut start) = (0, 0);
    while start < input.len() {
        let field = read_field(input, start).ok_or(MalformedEvents)?;
        match message.action(field.number, hidden) {
            Action::Copy => {}
            Action::Remove => {
                out.extend_from_slice(&input[copied..start]);
                copied = field.end;
            }
            Action::Enter(_) if field.wire_type != LENGTH_DELIMITED => return Err(MalformedEvents),
            Action::Enter(nested) => {
                out.extend_from_slice(&input[copied..field.value]);
                let body = out.len();
                copy_message(nested, &input[field.value..field.end], hidden, out)?;
                let length = out.len() - body;
                rewrite_length(&mut out[body - (field.value - field.after_key)..body], length);
                copied = field.end;
            }
        }
        start = field.end;
    }
    out.extend_from_slice(&input[copied..]);
    Ok(())
}

/// Writes the length of a shortened message over the one that it had. It fits, and a varint may be
/// padded.
#[inline(always)]
fn rewrite_length(varint: &mut [u8], length: usize) {
    let mut rest = length;
    for byte in varint {
        let [low, ..] = rest.to_le_bytes();
        *byte = *byte & CONTINUATION | low & !CONTINUATION;
        rest >>= VARINT_BITS;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn remove(events: &[u8]) -> Result<Vec<u8>, MalformedEvents> {
        let mut out = Vec::new();
        let hidden = HiddenFields { comm: true, ids: true, executable: true, io: true };
        remove_fields(events, hidden, &mut out).map(|()| out)
    }

    #[test]
    fn fields_of_every_wire_type_are_copied() {
        let unknown: &[u8] = &[0x78, 0xff, 0x01, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4];
        assert_eq!(remove(unknown).as_deref(), Ok(unknown));
    }

    #[test]
    fn a_length_keeps_its_width() {
        // An event with a task, whose unknown tail of 2 bytes is removed.
        let events = [0x0a, 0x8a, 0x00, 0x2a, 0x86, 0x80, 0x00, 0x72, 2, 9, 9, 0x08, 16];
        let without_tail = [0x0a, 0x86, 0x00, 0x2a, 0x82, 0x80, 0x00, 0x08, 16];
        assert_eq!(remove(&events).as_deref(), Ok(&without_tail[..]));
    }

    #[test]
    fn malformed_events_are_refused() {
        let cases: [(&str, &[u8]); 6] = [
            ("a key without a value", &[0x08]),
            ("a length beyond the end", &[0x0a, 2, 0]),
            ("an event that is a number", &[0x08, 1]),
            ("a group", &[0x0b, 0x0c]),
            ("a varint of 11 bytes", &[0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            ("a task beyond its event", &[0x0a, 2, 0x2a, 1, 0]),
        ];
        for (name, events) in cases {
            assert_eq!(remove(events), Err(MalformedEvents), "{name}");
        }
    }

    proptest! {
        /// Bytes that only look like messages, made of the keys that are known here.
        #[test]
        fn whatever_the_bytes_are_the_copy_is_no_longer_than_they_are(
            bytes in vec(prop_oneof![any::<u8>(), (0..16_u8).prop_map(|field| field << 3 | 2), 0..16_u8], 0..64),
        ) {
            if let Ok(copy) = remove(&bytes) {
                prop_assert!(copy.len() <= bytes.len());
            }
        }
    }
}
