//! The proto JSON mapping, which grpcurl prints too.

use std::io::{self, Write};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Serialize;
use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::v1::{
    Cursor, ExitEvent, GetNodeResponse, GetPidResponse, GetTgidResponse, WatchExitsResponse,
    Workload,
};
use tonic_health::pb::HealthCheckResponse;

use super::text::escaped_json;

/// A message that JSON output can contain.
pub(crate) trait Document: Message {
    /// Full name of the message, in the contract or in that of the health check.
    const NAME: &'static str;
}

/// Writes documents as JSON.
#[derive(Debug)]
pub(crate) struct Json {
    is_indented: bool,
}

/// One exit, its owner, and the cursor after it.
#[derive(Serialize)]
struct ExitDocument {
    event: DynamicMessage,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<DynamicMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<DynamicMessage>,
}

impl Document for GetPidResponse {
    const NAME: &'static str = "taskstats.v1.GetPidResponse";
}

impl Document for GetTgidResponse {
    const NAME: &'static str = "taskstats.v1.GetTgidResponse";
}

impl Document for GetNodeResponse {
    const NAME: &'static str = "taskstats.v1.GetNodeResponse";
}

impl Document for WatchExitsResponse {
    const NAME: &'static str = "taskstats.v1.WatchExitsResponse";
}

impl Document for ExitEvent {
    const NAME: &'static str = "taskstats.v1.ExitEvent";
}

impl Document for Cursor {
    const NAME: &'static str = "taskstats.v1.Cursor";
}

impl Document for Workload {
    const NAME: &'static str = "taskstats.v1.Workload";
}

impl Document for HealthCheckResponse {
    const NAME: &'static str = "grpc.health.v1.HealthCheckResponse";
}

impl Json {
    /// Indents documents for reading.
    pub(crate) fn indented() -> Self {
        Self { is_indented: true }
    }

    /// Writes one document a line.
    pub(crate) fn lines() -> Self {
        Self { is_indented: false }
    }

    /// Writes a message, and ends its line.
    ///
    /// # Errors
    /// Those of the writer, and `InvalidData` for a value that JSON has no form for, such as a
    /// timestamp before the year 1.
    pub(crate) fn write<D: Document>(&self, document: &D, out: &mut impl Write) -> io::Result<()> {
        self.write_value(&reflected(document)?, out)
    }

    /// Writes an exit, its owner, and the cursor after it, as
    /// `{"event": …, "workload": …, "cursor": …}`.
    ///
    /// # Errors
    /// Those of [`Json::write`].
    pub(crate) fn write_exit(
        &self,
        event: &ExitEvent,
        workload: Option<&Workload>,
        cursor: Option<&Cursor>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let event = reflected(event)?;
        let workload = workload.map(reflected).transpose()?;
        let cursor = cursor.map(reflected).transpose()?;
        self.write_value(&ExitDocument { event, workload, cursor }, out)
    }

    fn write_value(&self, value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
        let text = if self.is_indented {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        out.write_all(escaped_json(&text).as_bytes())?;
        out.write_all(b"\n")
    }
}

fn reflected<D: Document>(document: &D) -> io::Result<DynamicMessage> {
    let encoded = document.encode_to_vec();
    DynamicMessage::decode(descriptor(D::NAME)?, encoded.as_slice()).map_err(io::Error::other)
}

/// Returns the descriptor of a message, from a pool that is parsed once.
fn descriptor(name: &str) -> io::Result<MessageDescriptor> {
    thread_local! {
        static POOL: Result<DescriptorPool, prost_reflect::DescriptorError> = pool();
    }
    POOL.with(|pool| {
        let pool = pool.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
        let missing = || io::Error::other(format!("{name} is not in the descriptor set"));
        pool.get_message_by_name(name).ok_or_else(missing)
    })
}

fn pool() -> Result<DescriptorPool, prost_reflect::DescriptorError> {
    let mut pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{DelayAccounting, TaskStats};

    fn line<D: Document>(document: &D) -> String {
        let mut out = Vec::new();
        Json::lines().write(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn named(comm: &str) -> GetPidResponse {
        let comm = Some(comm.to_owned());
        let identity = Some(crate::proto::Identity { comm, ..Default::default() });
        GetPidResponse {
            stats: Some(TaskStats { identity, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn every_document_is_in_the_descriptor_set() {
        for name in [
            GetPidResponse::NAME,
            GetTgidResponse::NAME,
            GetNodeResponse::NAME,
            WatchExitsResponse::NAME,
            ExitEvent::NAME,
            Cursor::NAME,
            Workload::NAME,
            HealthCheckResponse::NAME,
        ] {
            assert_eq!(descriptor(name).unwrap().full_name(), name);
        }
    }

    #[test]
    fn values_have_the_forms_of_proto_json() {
        let stats = TaskStats {
            elapsed_us: Some(u64::MAX),
            delay_accounting: DelayAccounting::Off.into(),
            unknown_tail: vec![0, 255].into(),
            identity: Some(crate::proto::Identity {
                nice: Some(0),
                begin_time: Some(prost_types::Timestamp { seconds: 0, nanos: 5_000_000 }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let line = line(&GetPidResponse { stats: Some(stats), ..Default::default() });
        let expected = json!({"stats": {
            "identity": {"nice": 0, "beginTime": "1970-01-01T00:00:00.005Z"},
            "elapsedUs": "18446744073709551615",
            "delayAccounting": "DELAY_ACCOUNTING_OFF",
            "unknownTail": "AP8=",
        }});
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert_eq!(line.matches('\n').count(), 1);
    }

    /// JSON leaves DEL, the C1 controls and the characters that reorder text as they are.
    #[test]
    fn no_character_of_a_name_drives_the_terminal() {
        let name = "\u{1b}\u{9b}\u{7f}\u{202e}";
        assert_eq!(
            line(&named(name)),
            "{\"stats\":{\"identity\":{\"comm\":\"\\u001b\\u009b\\u007f\\u202e\"}}}\n"
        );
    }

    #[test]
    fn a_timestamp_without_a_form_is_an_error() {
        let started_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        let node = GetNodeResponse { started_at, ..Default::default() };
        let error = Json::lines().write(&node, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
