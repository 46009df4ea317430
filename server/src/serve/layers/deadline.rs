//! Ends calls at their deadline.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Timeout, timeout};
use tower::{Layer, Service};

use super::response::ResponseBody;
use super::response_future::{Outcome, rejection};
use crate::rpc::RpcError;
use crate::security::{Caller, Limit};

/// The longest deadline of a call, or of the begin of a stream. Responses take milliseconds; a call
/// that lasts so long is one whose request never arrives whole.
const MAX_CALL_TIME: Duration = Duration::from_secs(30);
/// The header with the caller's timeout: a number of up to eight digits and a unit ("gRPC over
/// HTTP/2", Request-Headers).
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The largest number of digits in the header.
const MAX_DIGITS: usize = 8;
const HOUR: u64 = 60 * 60;
const MINUTE: u64 = 60;

/// Applies [`Deadline`].
#[derive(Clone, Debug)]
pub(super) struct DeadlineLayer {
    caller: Arc<Caller>,
}

/// Ends each call at the deadline that its caller set, and at [`MAX_CALL_TIME`] at the latest.
/// `tower::timeout` does not do, because it has one timeout for all calls.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    caller: Arc<Caller>,
}

pin_project! {
    /// Waits for a response until the deadline.
    pub(super) struct DeadlineFuture<F> {
        #[pin]
        response: Timeout<F>,
        timeout: Duration,
        caller: Arc<Caller>,
    }
}

impl DeadlineLayer {
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, caller: Arc::clone(&self.caller) }
    }
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Future<Output = Outcome>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let requested = requested(request.headers()).unwrap_or(MAX_CALL_TIME);
        let longest = requested.min(MAX_CALL_TIME);
        DeadlineFuture {
            response: timeout(longest, self.inner.call(request)),
            timeout: longest,
            caller: Arc::clone(&self.caller),
        }
    }
}

impl<F: Future<Output = Outcome>> Future for DeadlineFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        if let Ok(outcome) = ready!(this.response.poll(cx)) {
            return Poll::Ready(outcome);
        }
        let error = RpcError::DeadlineExceeded(*this.timeout);
        // A deadline that the caller set is not one of the agent's limits.
        if *this.timeout == MAX_CALL_TIME {
            this.caller.reject(Limit::CallTime, &error);
        }
        Poll::Ready(Ok(rejection(error)))
    }
}

/// Returns the timeout in the headers. One that cannot be read counts as none, as in other servers.
fn requested(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let are_digits = digits.bytes().all(|it| it.is_ascii_digit());
    if digits.is_empty() || digits.len() > MAX_DIGITS || !are_digits {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * HOUR)),
        "M" => Some(Duration::from_secs(number * MINUTE)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("+5S", None),
            ("-5S", None),
            ("123456789S", None),
            ("5 S", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(requested(&headers), expected, "{text}");
        }
        assert_eq!(requested(&HeaderMap::new()), None);
    }
}
