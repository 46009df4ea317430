//! An answer on its way, and the line that is written when it has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

use super::activity::StreamGuard;
use crate::security::{Permit, Principal};

/// Where a status stands.
const GRPC_STATUS: &str = "grpc-status";

/// The body of an answer; dropped when the last of it has gone, or nobody wants it any more.
#[derive(Debug)]
pub struct ResponseBody {
    body: Body,
    record: Record,
    /// Also kept by each part of the body that is on its way.
    held: Option<Arc<Permits>>,
    _open: StreamGuard,
}

/// What a call takes away from others until its answer has gone: else a peer that reads none could
/// have any number of them kept.
#[derive(Debug)]
pub(super) struct Permits {
    pub(super) _call: Permit,
    pub(super) _slow_call: Option<Arc<Vec<Permit>>>,
}

/// Bytes of an answer, until HTTP/2 has sent or dropped them.
struct TrackedBytes {
    bytes: Bytes,
    _held: Arc<Permits>,
}

/// What becomes of a call, for the log. Nothing is recorded unless the log wants it.
#[derive(Debug)]
pub(super) struct Record {
    span: Span,
    begun: Option<Instant>,
    code: Option<Code>,
}

impl ResponseBody {
    pub(super) fn of(
        response: Response<Body>,
        mut record: Record,
        held: Option<Arc<Permits>>,
        open: StreamGuard,
    ) -> Response<Self> {
        record.note(response.headers());
        response.map(|body| Self { body, record, held, _open: open })
    }

    fn hold(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(held) = &self.held else { return frame };
        frame.map_data(|bytes| Bytes::from_owner(TrackedBytes { bytes, _held: Arc::clone(held) }))
    }
}

impl AsRef<[u8]> for TrackedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.record.note(trailers);
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.hold(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Record {
    pub(super) fn begin(principal: &Principal, method: &'static str) -> Self {
        let span = tracing::debug_span!("call", %principal, method);
        let begun = (!span.is_disabled()).then(Instant::now);
        Self { span, begun, code: None }
    }

    pub(super) const fn span(&self) -> &Span {
        &self.span
    }

    fn note(&mut self, headers: &HeaderMap) {
        if self.begun.is_some() {
            self.code = code_of(headers).or(self.code);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        // Without a status, the caller went away before it was sent.
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = begun.elapsed();
        self.span.in_scope(|| tracing::debug!(?code, ?duration, "the call ended"));
    }
}

/// The status among headers or trailers.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|status| Code::from_bytes(status.as_bytes()))
}
