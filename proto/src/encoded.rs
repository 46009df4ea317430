//! Messages in their wire form.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::v1;

/// A message `M` in its wire form, as byte slices whose concatenation is the message.
///
/// The agent encodes an exit once, whatever the number of watchers, and encodes the response to
/// `GetPid` directly from the kernel's record. The generated server trait has this type where the
/// client has `M`.
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
#[derive(Clone, Debug)]
pub struct Encoded<M> {
    parts: Vec<Bytes>,
    length: usize,
    message: PhantomData<fn() -> M>,
}

/// An encoded [`v1::WatchExitsResponse`].
pub type EncodedWatchExitsResponse = Encoded<v1::WatchExitsResponse>;

/// An encoded [`v1::GetPidResponse`].
pub type EncodedGetPidResponse = Encoded<v1::GetPidResponse>;

impl<M> Encoded<M> {
    /// Returns the message that the concatenation of `parts` encodes.
    ///
    /// ```
    /// use taskstats_proto::EncodedGetPidResponse;
    ///
    /// let empty = EncodedGetPidResponse::from_parts(Vec::new());
    /// ```
    #[must_use]
    pub fn from_parts(parts: Vec<Bytes>) -> Self {
        let length = parts.iter().map(Bytes::len).sum();
        Self { parts, length, message: PhantomData }
    }
}

impl<M> Default for Encoded<M> {
    fn default() -> Self {
        Self::from_parts(Vec::new())
    }
}

impl<M: Message> From<&M> for Encoded<M> {
    fn from(message: &M) -> Self {
        Self::from_parts(vec![message.encode_to_vec().into()])
    }
}

impl<M> Message for Encoded<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for part in &self.parts {
            buf.put_slice(part);
        }
    }

    fn encoded_len(&self) -> usize {
        self.length
    }

    /// Returns an error: this type is for sending alone.
    fn merge_field(
        &mut self,
        _tag: u32,
        _wire_type: WireType,
        _buf: &mut impl Buf,
        _ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::new_unexpected_type_url("a message", "an already encoded message"))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
