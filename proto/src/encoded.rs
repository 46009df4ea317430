//! A message of the exit stream that is already encoded.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType};

use crate::v1;

/// A [`v1::WatchExitsResponse`] in its wire form.
///
/// An exit is encoded once, however many watchers there are, so what the server sends is a list of
/// byte slices that make up one message when put together. The generated server trait takes this
/// type where the client sees [`v1::WatchExitsResponse`].
///
/// ```
/// use prost::Message;
/// use taskstats_proto::{EncodedWatchExitsResponse, v1};
///
/// let cursor = v1::Cursor { instance_id: "a".to_owned(), sequence: 7 };
/// let heartbeat = v1::watch_exits_response::Kind::Heartbeat(v1::Heartbeat { cursor: Some(cursor) });
/// let message = v1::WatchExitsResponse { kind: Some(heartbeat) };
/// let encoded = EncodedWatchExitsResponse::from(&message);
/// assert_eq!(v1::WatchExitsResponse::decode(&*encoded.encode_to_vec()).unwrap(), message);
/// ```
#[derive(Clone, Debug, Default)]
pub struct EncodedWatchExitsResponse {
    parts: Vec<Bytes>,
    length: usize,
}

impl EncodedWatchExitsResponse {
    /// Takes slices that together are one encoded [`v1::WatchExitsResponse`].
    #[must_use]
    pub fn from_parts(parts: Vec<Bytes>) -> Self {
        let length = parts.iter().map(Bytes::len).sum();
        Self { parts, length }
    }
}

impl From<&v1::WatchExitsResponse> for EncodedWatchExitsResponse {
    fn from(message: &v1::WatchExitsResponse) -> Self {
        Self::from_parts(vec![prost::Message::encode_to_vec(message).into()])
    }
}

impl prost::Message for EncodedWatchExitsResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for part in &self.parts {
            buf.put_slice(part);
        }
    }

    fn encoded_len(&self) -> usize {
        self.length
    }

    /// Refuses: this type is only ever sent.
    fn merge_field(
        &mut self,
        _tag: u32,
        _wire_type: WireType,
        _buf: &mut impl Buf,
        _ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::new_unexpected_type_url(
            "WatchExitsResponse",
            "an already encoded message",
        ))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
