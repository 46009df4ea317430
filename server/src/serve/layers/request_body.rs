//! The body of a request, which has one message unless the method's requests are a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::codegen::StdError;

use super::method::Method;
use crate::rpc::RpcError;

/// The length of a message's prefix: a flag for compression, and the message's length.
const PREFIX: usize = 5;

pin_project! {
    /// Fails when a second message follows where only one may. tonic would ignore it.
    pub(super) struct RequestBody<B> {
        #[pin]
        inner: B,
        // Absent where requests are a stream.
        framing: Option<Framing>,
    }
}

/// Follows the message that the bytes of a body belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Some bytes of the prefix were read; the value is its length so far.
    Prefix { read: usize, length: u32 },
    /// So many bytes of the message are still to come.
    Message { remaining: usize },
}

/// A byte after the end of the message.
#[derive(Debug, PartialEq, Eq)]
struct SecondMessage;

/// Wraps the body of a request.
pub(super) fn checked<B>(request: Request<B>) -> Request<RequestBody<B>> {
    let method = Method::of(request.uri().path());
    let framing = (!method.requests_are_stream()).then(Framing::new);
    request.map(|inner| RequestBody { inner, framing })
}

impl Framing {
    const fn new() -> Self {
        Self::Prefix { read: 0, length: 0 }
    }

    /// Follows the next bytes of the body.
    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), SecondMessage> {
        while let Some((&first, rest)) = bytes.split_first() {
            match *self {
                Self::Prefix { read, length } => {
                    let length = if read == 0 { 0 } else { length << u8::BITS | u32::from(first) };
                    *self = match read + 1 {
                        PREFIX => {
                            let remaining = usize::try_from(length).unwrap_or(usize::MAX);
                            Self::Message { remaining }
                        }
                        read => Self::Prefix { read, length },
                    };
                    bytes = rest;
                }
                Self::Message { remaining: 0 } => return Err(SecondMessage),
                Self::Message { remaining } => {
                    let part = remaining.min(bytes.len());
                    *self = Self::Message { remaining: remaining - part };
                    bytes = &bytes[part..];
                }
            }
        }
        Ok(())
    }
}

impl<B: Body<Data = Bytes, Error: Into<StdError>>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.project();
        let frame = match ready!(this.inner.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let (Some(framing), Some(bytes)) = (this.framing, frame.data_ref())
            && framing.advance(bytes) == Err(SecondMessage)
        {
            let status = Status::from(RpcError::SecondMessage);
            return Poll::Ready(Some(Err(status.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns how far the body is followed without an error.
    fn followed(parts: &[&[u8]]) -> Result<Framing, SecondMessage> {
        let mut framing = Framing::new();
        parts.iter().try_for_each(|part| framing.advance(part)).map(|()| framing)
    }

    proptest! {
        #[test]
        fn one_message_is_accepted_and_a_byte_more_is_not(
            message in prop::collection::vec(any::<u8>(), 0..600),
            flag in 0..2_u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let body = [&[flag][..], &length, &message].concat();
            let (first, second) = body.split_at(cut.index(body.len()));
            let end = Framing::Message { remaining: 0 };
            prop_assert_eq!(followed(&[first, second]), Ok(end));
            prop_assert_eq!(followed(&[first, second, &[0]]), Err(SecondMessage));
            prop_assert_eq!(followed(&[&[&body[..], &[0]].concat()]), Err(SecondMessage));
        }
    }
}
