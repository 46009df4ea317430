//! What is redacted leaves the agent in no form.

use std::time::Duration;

use proptest::prelude::*;
use prost::encoding::encode_varint;

use super::*;
use crate::encode::arbitrary::{accounting, exit, stats};
use crate::encode::encode_event;
use crate::taskstats::{
    Comm, DelayAccounting, Executable, Exit, Identity, Io, ProcessTotals, Stats, TaskIdentity,
};

const FIELDS: [Field; 4] = [Field::Comm, Field::Uid, Field::Executable, Field::Io];

/// Numbers of which the encoded form is so long that it stands nowhere by chance.
#[derive(Clone, Debug)]
struct Secrets {
    comm: [u8; 12],
    ids: [u32; 2],
    executable: [u64; 2],
    io: [u64; 7],
    tail: [u8; 16],
}

prop_compose! {
    fn secrets()(
        comm in proptest::array::uniform12(b'a'..=b'z'),
        ids in proptest::array::uniform2(1 << 30..u32::MAX),
        executable in proptest::array::uniform2(1 << 60..u64::MAX),
        io in proptest::array::uniform7(1 << 60..u64::MAX),
        tail in proptest::array::uniform16(1..=u8::MAX),
    ) -> Secrets {
        Secrets { comm, ids, executable, io, tail }
    }
}

impl Secrets {
    fn stats(&self) -> Stats {
        let mut comm = [0; 32];
        comm[..self.comm.len()].copy_from_slice(&self.comm);
        let task = TaskIdentity {
            uid: self.ids[0],
            gid: self.ids[1],
            comm: Comm::new(&comm),
            ..TaskIdentity::default()
        };
        let [read_chars_bytes, write_chars_bytes, read_syscalls, write_syscalls, ..] = self.io;
        let [.., read_bytes, write_bytes, cancelled_write_bytes] = self.io;
        Stats {
            identity: Identity { pid: Some(7), tgid: Some(7), task: Some(task) },
            io: Some(Io {
                read_chars_bytes,
                write_chars_bytes,
                read_syscalls,
                write_syscalls,
                read_bytes,
                write_bytes,
                cancelled_write_bytes,
            }),
            executable: Some(Executable { device: self.executable[0], inode: self.executable[1] }),
            unknown_tail: self.tail.to_vec(),
            ..Stats::default()
        }
    }

    /// The encoded form of what belongs to a field.
    fn of(&self, field: Field) -> Vec<Vec<u8>> {
        match field {
            Field::Comm => vec![self.comm.to_vec()],
            Field::Uid => self.ids.iter().map(|id| varint(u64::from(*id))).collect(),
            Field::Executable => self.executable.iter().copied().map(varint).collect(),
            Field::Io => self.io.iter().copied().map(varint).collect(),
        }
    }
}

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(number, &mut bytes);
    bytes
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

proptest! {
    #[test]
    fn what_is_redacted_is_nowhere_in_a_stream_and_the_rest_is(
        secrets in secrets(),
        chosen in proptest::sample::subsequence(FIELDS.to_vec(), 1..=FIELDS.len()),
    ) {
        let redaction: Redaction = chosen.iter().copied().collect();
        let process = Some(Box::new(secrets.stats()));
        let mut totals = ProcessTotals::default();
        totals.add(&secrets.stats());
        let process_totals = Some(Box::new(totals));
        let task = secrets.stats();
        let exit = Exit { task, process, process_totals, ..Exit::default() };
        let mut encoded = Vec::new();
        for sequence in 1..=2 {
            encode_event(&mut encoded, &exit, sequence, Duration::ZERO, DelayAccounting::Off);
        }
        let original = Bytes::from(encoded);
        let before = original.clone();
        let shown = strip_events(std::slice::from_ref(&original), redaction).unwrap();
        prop_assert!(!holds(&shown, &secrets.tail), "the unknown tail");
        for field in FIELDS {
            for secret in secrets.of(field) {
                prop_assert!(holds(&original, &secret), "{field:?} is in the original");
                prop_assert_eq!(holds(&shown, &secret), !chosen.contains(&field), "{:?}", field);
            }
        }
        let sequences = |bytes: &[u8]| -> Vec<u64> {
            let events = v1::ExitEvents::decode(bytes).unwrap().events;
            events.iter().map(|event| event.sequence).collect()
        };
        prop_assert_eq!(sequences(&shown), sequences(&original));
        prop_assert_eq!(original, before, "other watchers share the original");
    }
}

proptest! {
    /// Removing fields from the bytes and from the messages gives the same.
    #[test]
    fn a_redacted_stream_is_the_stream_of_redacted_messages(
        exits in proptest::collection::vec(exit(), 1..4),
        chosen in proptest::sample::subsequence(FIELDS.to_vec(), 0..=FIELDS.len()),
        accounting in accounting(),
    ) {
        let redaction: Redaction = chosen.iter().copied().collect();
        let mut slices = Vec::new();
        for (sequence, exit) in (1..).zip(&exits) {
            let mut encoded = Vec::new();
            encode_event(&mut encoded, exit, sequence, Duration::ZERO, accounting);
            slices.push(Bytes::from(encoded));
        }
        let mut expected = v1::ExitEvents::decode(&*slices.concat()).unwrap();
        for event in &mut expected.events {
            let statistics = event.task.iter_mut().chain(event.process.as_deref_mut());
            statistics.for_each(|stats| strip(stats, redaction));
            if let Some(totals) = &mut event.process_totals && redaction.strips(Field::Io) {
                totals.io = None;
            }
        }
        let stripped = strip_events(&slices, redaction).unwrap();
        prop_assert_eq!(v1::ExitEvents::decode(stripped).unwrap(), expected);
    }

    #[test]
    fn a_redacted_pid_response_is_the_response_without_the_fields(
        stats in stats(),
        chosen in proptest::sample::subsequence(FIELDS.to_vec(), 0..=FIELDS.len()),
        accounting in accounting(),
    ) {
        let redaction: Redaction = chosen.iter().copied().collect();
        let encoded = crate::encode::encode_pid_response(&stats, accounting);
        let mut expected = v1::GetPidResponse::decode(&*encoded).unwrap();
        expected.stats.iter_mut().for_each(|stats| strip(stats, redaction));
        let redacted = encode_pid_response(&stats, accounting, redaction);
        prop_assert_eq!(v1::GetPidResponse::decode(&*redacted).unwrap(), expected);
    }
}

/// Absent, not zero; and nothing that was not asked for.
#[test]
fn stripped_fields_are_absent() {
    for field in FIELDS {
        let io = Some(v1::Io::default());
        let executable = Some(v1::Executable::default());
        let (uid, gid, comm) = (Some(0), Some(0), Some(String::new()));
        let identity = v1::Identity { pid: Some(7), uid, gid, comm, ..v1::Identity::default() };
        let identity = Some(identity);
        let mut stats = v1::TaskStats { identity, io, executable, ..v1::TaskStats::default() };
        strip(&mut stats, [field].into_iter().collect());
        let identity = stats.identity.unwrap();
        let present = [
            (identity.comm.is_some(), Field::Comm),
            (identity.uid.is_some(), Field::Uid),
            (identity.gid.is_some(), Field::Uid),
            (stats.executable.is_some(), Field::Executable),
            (stats.io.is_some(), Field::Io),
        ];
        for (is_present, of) in present {
            assert_eq!(is_present, of != field, "{of:?} without {field:?}");
        }
        assert_eq!(identity.pid, Some(7));
    }
}
