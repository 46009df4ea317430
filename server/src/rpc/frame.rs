//! Encoded messages of the exit stream.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::{EncodedWatchExitsResponse, v1};

use super::convert::timestamp;
use super::workload;
use crate::encode::field::exit_events::CURSOR;
use crate::encode::field::watch_exits_response::EVENTS;
use crate::exits::{Loss, LossStage};

/// Encodes messages with the cursors of one run of the agent.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    pub(super) instance_id: String,
}

impl Framer {
    pub(super) fn cursor(&self, sequence: u64) -> v1::Cursor {
        v1::Cursor { instance_id: self.instance_id.clone(), sequence }
    }

    pub(super) fn started(&self, started: v1::WatchStarted) -> EncodedWatchExitsResponse {
        message(Kind::Started(started))
    }

    pub(super) fn heartbeat(&self, cursor: u64) -> EncodedWatchExitsResponse {
        message(Kind::Heartbeat(v1::Heartbeat { cursor: Some(self.cursor(cursor)) }))
    }

    pub(super) fn lost(&self, loss: &Loss) -> EncodedWatchExitsResponse {
        let stage = match loss.stage {
            LossStage::KernelSocket => v1::LostStage::KernelSocket,
            LossStage::History => v1::LostStage::History,
            LossStage::AgentRestart => v1::LostStage::AgentRestart,
        };
        message(Kind::Lost(v1::Lost {
            stage: stage.into(),
            cpu: loss.cpu,
            count: loss.count,
            first_at: loss.first_at.map(timestamp),
            last_at: loss.last_at.map(timestamp),
            total: loss.total,
            cursor: Some(self.cursor(loss.cursor)),
            by_cgroup: workload::losses(&loss.by_cgroup),
        }))
    }

    pub(super) fn workloads(&self, workloads: Vec<v1::Workload>) -> EncodedWatchExitsResponse {
        message(Kind::Workloads(v1::Workloads { workloads }))
    }

    /// Wraps encoded entries of `ExitEvents.events` in a message, without copying them.
    pub(super) fn events(&self, slices: Vec<Bytes>, cursor: u64) -> EncodedWatchExitsResponse {
        let mut trailer = Vec::with_capacity(64);
        encode_key(CURSOR.into(), WireType::LengthDelimited, &mut trailer);
        self.cursor(cursor).encode_length_delimited(&mut trailer).unwrap_or_default();
        let events = u32::from(EVENTS);
        let length = slices.iter().map(Bytes::len).sum::<usize>() + trailer.len();
        let mut header = Vec::with_capacity(key_len(events) + encoded_len_varint(length as u64));
        encode_key(events, WireType::LengthDelimited, &mut header);
        encode_varint(length as u64, &mut header);
        let mut parts = Vec::with_capacity(slices.len() + 2);
        parts.push(Bytes::from(header));
        parts.extend(slices);
        parts.push(Bytes::from(trailer));
        EncodedWatchExitsResponse::from_parts(parts)
    }
}

fn message(kind: Kind) -> EncodedWatchExitsResponse {
    EncodedWatchExitsResponse::from(&v1::WatchExitsResponse { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::encode::encode_event;
    use crate::taskstats::{DelayAccounting, Exit};

    /// Two slices and a cursor decode as one message.
    #[test]
    fn slices_become_one_message() {
        let framer = Framer { instance_id: "run".to_owned() };
        let slice = |sequence| {
            let mut bytes = Vec::new();
            let exit = Exit::default();
            encode_event(&mut bytes, &exit, sequence, Duration::ZERO, DelayAccounting::Off);
            Bytes::from(bytes)
        };
        let frame = framer.events(vec![slice(3), slice(9)], 11).encode_to_vec();
        let Some(Kind::Events(events)) = v1::WatchExitsResponse::decode(&*frame).unwrap().kind
        else {
            panic!("no events");
        };
        let sequences: Vec<u64> = events.events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, [3, 9]);
        assert_eq!(events.cursor, Some(framer.cursor(11)));
    }
}
