//! The body of a response, and what lasts as long as it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::super::activity::StreamGuard;
use super::call_record::CallRecord;
use crate::security::Permit;

/// The body of a response. It is dropped when HTTP/2 has read all of it, or the caller has left.
#[derive(Debug, Default)]
pub(in crate::serve) struct ResponseBody {
    body: Body,
    record: Option<CallRecord>,
    /// Also held by each part of the body that HTTP/2 has not sent yet.
    permits: Option<Arc<Permits>>,
    stream: Option<StreamGuard>,
}

/// The permits that a call holds until its response is sent.
#[derive(Debug)]
pub(super) struct Permits {
    pub(super) _call: Permit,
    pub(super) _slow_call: Option<Arc<Vec<Permit>>>,
}

/// Bytes of a response, until HTTP/2 has sent or dropped them.
struct TrackedBytes {
    bytes: Bytes,
    _permits: Arc<Permits>,
}

impl ResponseBody {
    /// Keeps the permits until the response is sent.
    pub(super) fn hold(&mut self, permits: Permits) {
        self.permits = Some(Arc::new(permits));
    }

    /// Adds the final status to the record, which is written at the end.
    pub(super) fn record(&mut self, record: CallRecord) {
        self.record = Some(record);
    }

    /// Keeps the stream counted as open until the end.
    pub(super) fn guard(&mut self, stream: StreamGuard) {
        self.stream = Some(stream);
    }

    fn track(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(permits) = &self.permits else { return frame };
        frame.map_data(|bytes| {
            Bytes::from_owner(TrackedBytes { bytes, _permits: Arc::clone(permits) })
        })
    }
}

impl From<Body> for ResponseBody {
    fn from(body: Body) -> Self {
        Self { body, ..Self::default() }
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
            && let Some(record) = &mut self.record
        {
            record.note(trailers);
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.track(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
