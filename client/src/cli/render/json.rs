//! The proto JSON mapping: what grpcurl prints.

use std::io::{self, Write};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::v1::{GetNodeResponse, GetPidResponse, GetTgidResponse, WatchExitsResponse};
use tonic_health::pb::HealthCheckResponse;

/// A message that is printed on its own.
pub(crate) trait Document: Message {
    /// Its full name in the contract, or in that of the health check.
    const NAME: &'static str;
}

/// Writes documents as JSON.
#[derive(Debug)]
pub(crate) struct Json {
    indented: bool,
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

impl Document for HealthCheckResponse {
    const NAME: &'static str = "grpc.health.v1.HealthCheckResponse";
}

impl Json {
    /// Indents documents for reading.
    pub(crate) fn indented() -> Self {
        Self { indented: true }
    }

    /// Writes one document a line.
    pub(crate) fn lines() -> Self {
        Self { indented: false }
    }

    /// Writes a document and ends its line.
    ///
    /// # Errors
    /// Those of the writer, and `InvalidData` for what JSON has no form for, such as a moment
    /// before the year 1.
    pub(crate) fn write<D: Document>(&self, document: &D, out: &mut impl Write) -> io::Result<()> {
        let message = reflected(document)?;
        if self.indented {
            serde_json::to_writer_pretty(&mut *out, &message)?;
        } else {
            serde_json::to_writer(&mut *out, &message)?;
        }
        out.write_all(b"\n")
    }
}

fn reflected<D: Document>(document: &D) -> io::Result<DynamicMessage> {
    let encoded = document.encode_to_vec();
    DynamicMessage::decode(descriptor(D::NAME)?, encoded.as_slice()).map_err(io::Error::other)
}

/// The pool is parsed once, however many documents are written.
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

    fn lines<D: Document>(document: &D) -> String {
        let mut out = Vec::new();
        Json::lines().write(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_document_is_in_the_descriptor_set() {
        for name in [
            GetPidResponse::NAME,
            GetTgidResponse::NAME,
            GetNodeResponse::NAME,
            WatchExitsResponse::NAME,
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
        let line = lines(&GetPidResponse { stats: Some(stats), ..Default::default() });
        let expected = json!({"stats": {
            "identity": {"nice": 0, "beginTime": "1970-01-01T00:00:00.005Z"},
            "elapsedUs": "18446744073709551615",
            "delayAccounting": "DELAY_ACCOUNTING_OFF",
            "unknownTail": "AP8=",
        }});
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_moment_without_a_form_is_an_error() {
        let started_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        let node = GetNodeResponse { started_at, ..Default::default() };
        let error = Json::lines().write(&node, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
