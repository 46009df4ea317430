//! Streams of exits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Cursor, ExitEvent, ExitEvents, Heartbeat, Lost, WatchExitsResponse, WatchStarted, Workload,
    Workloads,
};
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::error::Error;
use crate::status::Call;
use crate::target::Target;
use crate::workloads::WorkloadTable;

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

impl Event {
    /// Returns the cursor after this message, for [`WatchRequest::resume_after`](crate::WatchRequest::resume_after).
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
    /// - [`Error::ResourceExhausted`] when the stream is too slow, for [`OnLag::Close`](crate::OnLag::Close).
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_newer_kind_of_message_is_unknown() {
        assert_eq!(Event::from(WatchExitsResponse { kind: None }), Event::Unknown);
    }
}
