//! Streams of exits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Cursor, ExitEvents, Heartbeat, Lost, OnLag, Scope, WatchExitsRequest, WatchExitsResponse,
    WatchStarted, Workloads,
};
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::error::Error;
use crate::status::Call;
use crate::target::Target;

/// Which exits to stream, from where on, and how promptly.
///
/// ```
/// use std::time::Duration;
/// use taskstats_client::{Scope, WatchRequest};
///
/// let request = WatchRequest::new()
///     .cpus("0-3,8")
///     .scope(Scope::Processes)
///     .max_batch_delay(Duration::from_millis(10));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct WatchRequest {
    cpus: String,
    scope: Scope,
    begin: Begin,
    max_batch_delay: Option<Duration>,
    on_lag: OnLag,
}

/// Where a stream begins.
#[derive(Clone, Debug, Default, PartialEq)]
enum Begin {
    #[default]
    Now,
    After(Cursor),
    Last(u32),
}

/// One message of a stream of exits.
///
/// Exits come in the batches that the agent made of them: handing them over one by one would cost
/// copies of a large message, which is felt when a million of them come in a second.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Always the first: listening is in force.
    Started(WatchStarted),
    /// Exits, by ascending sequence.
    Exits(ExitEvents),
    /// Exits that cannot be delivered, in the place where they would have stood.
    Lost(Lost),
    /// Nothing happened for a while, or the agent is about to end the stream.
    Heartbeat(Heartbeat),
    /// Owners of cgroups that later exits refer to.
    Workloads(Workloads),
    /// A kind of message that is newer than this client.
    Unknown,
}

/// A stream of exits, from [`Client::watch`](crate::Client::watch).
///
/// Besides [`ExitStream::next`] it is a [`Stream`]. It ends after its first error.
///
/// ```no_run
/// use taskstats_client::{Client, Event, WatchRequest};
///
/// # async fn example(client: Client) -> Result<(), taskstats_client::Error> {
/// let mut exits = client.watch(WatchRequest::new().cpus("0-3")).await?;
/// while let Some(event) = exits.next().await {
///     let Event::Exits(batch) = event? else { continue };
///     for exit in batch.events {
///         println!("CPU {}: {:?}", exit.cpu, exit.task);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ExitStream {
    messages: Streaming<WatchExitsResponse>,
    target: Target,
    deadline: Duration,
}

impl WatchRequest {
    /// Asks for every exit on every CPU, batched as the agent sees fit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the stream to some CPUs, in the kernel's list syntax, such as `0-3,8`. An empty list
    /// means all possible CPUs.
    pub fn cpus(mut self, list: impl Into<String>) -> Self {
        self.cpus = list.into();
        self
    }

    /// Limits the stream to exits that end a process, or to those that do not.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Continues after a cursor that an earlier stream told: nothing that the agent remembers is
    /// repeated or left out, and the rest is told as lost. Takes the place of
    /// [`replay_last`](Self::replay_last).
    pub fn resume_after(mut self, cursor: Cursor) -> Self {
        self.begin = Begin::After(cursor);
        self
    }

    /// Begins with so many of the newest exits that the agent remembers, as far as they belong to
    /// the stream. Takes the place of [`resume_after`](Self::resume_after).
    pub fn replay_last(mut self, exits: u32) -> Self {
        self.begin = Begin::Last(exits);
        self
    }

    /// Sets what the agent does when it forgets exits before this stream took them.
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        self
    }

    /// Sets how long the agent may hold an exit back to send more of them at once; at most 10 s.
    pub fn max_batch_delay(mut self, delay: Duration) -> Self {
        self.max_batch_delay = Some(delay);
        self
    }

    pub(crate) fn into_message(self) -> Result<WatchExitsRequest, Error> {
        let max_batch_delay = match self.max_batch_delay {
            Some(delay) => Some(delay.try_into().map_err(|_| too_long(delay))?),
            None => None,
        };
        let (resume_after, replay_last) = match self.begin {
            Begin::Now => (None, 0),
            Begin::After(cursor) => (Some(cursor), 0),
            Begin::Last(exits) => (None, exits),
        };
        Ok(WatchExitsRequest {
            cpumask: self.cpus,
            scope: self.scope.into(),
            resume_after,
            replay_last,
            max_batch_delay,
            on_lag: self.on_lag.into(),
        })
    }
}

impl Event {
    /// Returns the place after this message, to continue from with
    /// [`WatchRequest::resume_after`]; `None` for a message that has none.
    ///
    /// Of a stream that itself continued, `Started` tells where this one begins: a client that loses
    /// it before any other message continues from the cursor it had, so that what was lost between
    /// the two is told again.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Started(started) => started.cursor.as_ref(),
            Self::Exits(exits) => exits.cursor.as_ref(),
            Self::Lost(lost) => lost.cursor.as_ref(),
            Self::Heartbeat(heartbeat) => heartbeat.cursor.as_ref(),
            Self::Workloads(_) | Self::Unknown => None,
        }
    }
}

impl From<WatchExitsResponse> for Event {
    fn from(message: WatchExitsResponse) -> Self {
        match message.kind {
            Some(Kind::Started(started)) => Self::Started(started),
            Some(Kind::Events(events)) => Self::Exits(events),
            Some(Kind::Lost(lost)) => Self::Lost(lost),
            Some(Kind::Heartbeat(heartbeat)) => Self::Heartbeat(heartbeat),
            Some(Kind::Workloads(workloads)) => Self::Workloads(workloads),
            None => Self::Unknown,
        }
    }
}

impl ExitStream {
    pub(crate) fn new(
        messages: Streaming<WatchExitsResponse>,
        target: Target,
        deadline: Duration,
    ) -> Self {
        Self { messages, target, deadline }
    }

    /// Waits for the next message; `None` when the agent ended the stream without an error.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        StreamExt::next(self).await
    }
}

impl Stream for ExitStream {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.messages).poll_next(context);
        next.map_err(|status| Call { target: &this.target, deadline: this.deadline }.error(status))
            .map_ok(Event::from)
    }
}

fn too_long(delay: Duration) -> Error {
    Error::InvalidArgument {
        field: "max_batch_delay".to_owned(),
        description: "more seconds than a message can carry".to_owned(),
        message: format!("max_batch_delay of {delay:?} is too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_what_was_set() {
        let request = WatchRequest::new()
            .cpus("0-1")
            .scope(Scope::Threads)
            .replay_last(5)
            .on_lag(OnLag::Close)
            .max_batch_delay(Duration::from_millis(10));
        let message = request.into_message().unwrap();
        assert_eq!(message.cpumask, "0-1");
        assert_eq!(message.scope(), Scope::Threads);
        assert_eq!((message.replay_last, message.on_lag()), (5, OnLag::Close));
        assert_eq!(message.max_batch_delay.unwrap().nanos, 10_000_000);
    }

    /// The agent refuses a request with both.
    #[test]
    fn a_stream_begins_in_one_place() {
        let cursor = || Cursor { instance_id: "run1".to_owned(), sequence: 7 };
        let message = WatchRequest::new().replay_last(5).resume_after(cursor()).into_message();
        let expected =
            WatchExitsRequest { resume_after: Some(cursor()), ..WatchExitsRequest::default() };
        assert_eq!(message.unwrap(), expected);
        let message = WatchRequest::new().resume_after(cursor()).replay_last(5).into_message();
        assert_eq!(message.unwrap(), WatchExitsRequest { replay_last: 5, ..Default::default() });
    }

    #[test]
    fn every_message_tells_its_place() {
        let cursor = Some(Cursor { instance_id: "run1".to_owned(), sequence: 7 });
        let kinds = [
            Kind::Started(WatchStarted { cursor: cursor.clone(), ..Default::default() }),
            Kind::Events(ExitEvents { cursor: cursor.clone(), ..Default::default() }),
            Kind::Lost(Lost { cursor: cursor.clone(), ..Default::default() }),
            Kind::Heartbeat(Heartbeat { cursor: cursor.clone() }),
        ];
        for kind in kinds {
            let event = Event::from(WatchExitsResponse { kind: Some(kind) });
            assert_eq!(event.cursor(), cursor.as_ref(), "{event:?}");
        }
        assert_eq!(Event::Unknown.cursor(), None);
    }

    #[test]
    fn a_plain_request_is_the_empty_message() {
        let message = WatchRequest::new().into_message().unwrap();
        assert_eq!(message, WatchExitsRequest::default());
    }

    #[test]
    fn a_delay_that_no_message_can_carry_is_refused() {
        let request = WatchRequest::new().max_batch_delay(Duration::MAX);
        assert!(matches!(request.into_message(), Err(Error::InvalidArgument { .. })));
    }

    #[test]
    fn a_kind_from_the_future_is_unknown() {
        assert_eq!(Event::from(WatchExitsResponse { kind: None }), Event::Unknown);
    }
}
