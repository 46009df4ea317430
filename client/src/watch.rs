//! Streams of exits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Cursor, ExitEvent, ExitEvents, Heartbeat, Lost, OnLag, Scope, WatchExitsRequest,
    WatchExitsResponse, WatchStarted, Workload, Workloads,
};
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::error::Error;
use crate::status::Call;
use crate::target::Target;
use crate::workloads::WorkloadTable;

/// The exits to stream, the position to begin at, and the delivery.
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

/// The position at which a stream begins.
#[derive(Clone, Debug, Default, PartialEq)]
enum Begin {
    #[default]
    Now,
    After(Cursor),
    Last(u32),
}

/// One message of a stream of exits.
///
/// Exits arrive in the batches that the agent sends: a message for each exit would be too slow for a
/// million exits a second.
///
/// ```
/// use taskstats_client::Event;
///
/// fn count(event: &Event) -> usize {
///     match event {
///         Event::Exits(batch) => batch.events.len(),
///         _ => 0,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The first message of a stream: the kernel reports exits from now on.
    Started(WatchStarted),
    /// Exits, by ascending sequence.
    Exits(ExitEvents),
    /// Exits that are lost, in the position that they would have had.
    Lost(Lost),
    /// 10 s without another message, or the end of the stream.
    Heartbeat(Heartbeat),
    /// The owners of cgroups that later exits refer to. [`ExitStream::workload`] finds them.
    Workloads(Workloads),
    /// A kind of message that this version of the client does not know.
    Unknown,
}

/// A stream of exits, from [`Client::watch`](crate::Client::watch).
///
/// The stream implements [`Stream`], and ends after its first error.
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
    workloads: WorkloadTable,
    target: Target,
    deadline: Duration,
}

impl WatchRequest {
    /// Requests every exit on every CPU from now on, in batches of the agent's choice.
    ///
    /// ```
    /// use taskstats_client::WatchRequest;
    ///
    /// assert_eq!(WatchRequest::new(), WatchRequest::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects CPUs, in the kernel's list syntax, such as `0-3,8`.
    ///
    /// The empty list selects all possible CPUs.
    ///
    /// ```
    /// use taskstats_client::WatchRequest;
    ///
    /// let request = WatchRequest::new().cpus("0-3,8");
    /// ```
    pub fn cpus(mut self, list: impl Into<String>) -> Self {
        self.cpus = list.into();
        self
    }

    /// Selects the exits that end a process, or those that do not.
    ///
    /// ```
    /// use taskstats_client::{Scope, WatchRequest};
    ///
    /// let request = WatchRequest::new().scope(Scope::Processes);
    /// ```
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Continues after a cursor of an earlier stream, without repetitions.
    ///
    /// The stream first has the exits in the agent's history since the cursor, and reports those that
    /// the history has evicted as lost. Replaces [`replay_last`](Self::replay_last).
    ///
    /// ```
    /// use taskstats_client::{Cursor, WatchRequest};
    ///
    /// let cursor = Cursor { instance_id: "run1".to_owned(), sequence: 7 };
    /// let request = WatchRequest::new().resume_after(cursor);
    /// ```
    pub fn resume_after(mut self, cursor: Cursor) -> Self {
        self.begin = Begin::After(cursor);
        self
    }

    /// Begins with the given number of exits, the newest ones of this selection in the agent's history.
    ///
    /// The history can have fewer. Replaces [`resume_after`](Self::resume_after).
    ///
    /// ```
    /// use taskstats_client::WatchRequest;
    ///
    /// let request = WatchRequest::new().replay_last(20);
    /// ```
    pub fn replay_last(mut self, exits: u32) -> Self {
        self.begin = Begin::Last(exits);
        self
    }

    /// Sets the agent's behaviour when its history evicts exits that this stream has not read.
    ///
    /// ```
    /// use taskstats_client::{OnLag, WatchRequest};
    ///
    /// let request = WatchRequest::new().on_lag(OnLag::Close);
    /// ```
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        self
    }

    /// Sets the time for which the agent may hold an exit back to send several at once, at most 10 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskstats_client::WatchRequest;
    ///
    /// let request = WatchRequest::new().max_batch_delay(Duration::from_millis(10));
    /// ```
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
    /// Returns the cursor after this message, for [`WatchRequest::resume_after`].
    ///
    /// The cursor of [`Event::Started`] is the beginning of its stream. A client that continued an
    /// earlier stream keeps its own cursor until the next message: the cursor of `Started` can lie
    /// after a loss that is still to be reported.
    ///
    /// ```
    /// use taskstats_client::{Cursor, Event, Heartbeat};
    ///
    /// let cursor = Cursor { instance_id: "run1".to_owned(), sequence: 7 };
    /// let event = Event::Heartbeat(Heartbeat { cursor: Some(cursor.clone()) });
    /// assert_eq!(event.cursor(), Some(&cursor));
    /// ```
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
        Self { messages, workloads: WorkloadTable::default(), target, deadline }
    }

    /// Waits for the next message; `None` when the agent ended the stream without an error.
    ///
    /// The method is cancel safe: dropping the future loses no message.
    ///
    /// # Errors
    /// - [`Error::Unavailable`] when the agent drains.
    /// - [`Error::ResourceExhausted`] when the stream is too slow, for [`OnLag::Close`].
    /// - [`Error::Disconnected`] when the connection breaks.
    ///
    /// ```no_run
    /// use taskstats_client::{Event, ExitStream};
    ///
    /// # async fn example(mut exits: ExitStream) -> Result<(), taskstats_client::Error> {
    /// while let Some(event) = exits.next().await {
    ///     if let Event::Lost(lost) = event? {
    ///         eprintln!("{:?} exits are lost", lost.count);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        StreamExt::next(self).await
    }

    /// Returns the owner of an exit of this stream: its cgroup, and the container, pod and units that
    /// the cgroup belongs to. `None` if the agent does not know the cgroup.
    ///
    /// `exit.attribution()` is the certainty. A name that the agent did not know when it sent the exit
    /// can be known later.
    ///
    /// ```no_run
    /// use taskstats_client::{Event, ExitStream};
    ///
    /// # async fn example(mut exits: ExitStream) -> Result<(), taskstats_client::Error> {
    /// while let Some(event) = exits.next().await {
    ///     let Event::Exits(batch) = event? else { continue };
    ///     for exit in &batch.events {
    ///         let pod = exits.workload(exit).and_then(|workload| workload.pod.as_ref());
    ///         println!("{:?} of {:?}", exit.attribution(), pod.map(|pod| &pod.name));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn workload(&self, exit: &ExitEvent) -> Option<&Workload> {
        self.workloads.of(exit)
    }
}

impl Stream for ExitStream {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.messages).poll_next(context);
        let next = next
            .map_err(|status| Call { target: &this.target, deadline: this.deadline }.error(status))
            .map_ok(Event::from);
        if let Poll::Ready(Some(Ok(Event::Workloads(workloads)))) = &next {
            this.workloads.update(workloads.clone());
        }
        next
    }
}

fn too_long(delay: Duration) -> Error {
    Error::InvalidArgument {
        field: "max_batch_delay".to_owned(),
        description: "it has more seconds than a message can hold; use at most 10 s".to_owned(),
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

    /// The agent refuses a request that has both.
    #[test]
    fn a_stream_begins_at_one_position() {
        let cursor = || Cursor { instance_id: "run1".to_owned(), sequence: 7 };
        let message = WatchRequest::new().replay_last(5).resume_after(cursor()).into_message();
        let expected =
            WatchExitsRequest { resume_after: Some(cursor()), ..WatchExitsRequest::default() };
        assert_eq!(message.unwrap(), expected);
        let message = WatchRequest::new().resume_after(cursor()).replay_last(5).into_message();
        assert_eq!(message.unwrap(), WatchExitsRequest { replay_last: 5, ..Default::default() });
    }

    #[test]
    fn every_message_has_a_cursor() {
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
    fn a_delay_that_exceeds_a_message_is_refused() {
        let request = WatchRequest::new().max_batch_delay(Duration::MAX);
        assert!(matches!(request.into_message(), Err(Error::InvalidArgument { .. })));
    }

    #[test]
    fn a_newer_kind_of_message_is_unknown() {
        assert_eq!(Event::from(WatchExitsResponse { kind: None }), Event::Unknown);
    }
}
