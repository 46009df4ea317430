//! The messages of one exit stream.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use taskstats_proto::{EncodedWatchExitsResponse, v1};
use tonic::Status;

use super::RpcError;
use super::frame::Framer;
use super::redact::strip_events;
use super::turns::Turns;
use super::workload::SentWorkloads;
use crate::exits::{WatchEvent, Watcher};
use crate::security::{Permit, Redaction};

/// The state of a stream.
pub(super) struct WatchStream {
    pub(super) watcher: Watcher,
    pub(super) framer: Framer,
    pub(super) turns: Arc<Turns>,
    /// The fields that the watcher must not see.
    pub(super) redaction: Option<Redaction>,
    /// The workloads that were sent.
    pub(super) sent: SentWorkloads,
    /// Counts the stream as a watcher.
    pub(super) _permit: Permit,
}

/// The next step of a stream.
enum State {
    Start(WatchStream, EncodedWatchExitsResponse),
    Watch(WatchStream),
    /// The workloads of an event were sent; the event follows.
    Event(WatchStream, WatchEvent),
    /// The last cursor was sent; the status follows.
    End(RpcError),
}

type Item = Result<EncodedWatchExitsResponse, Status>;

impl WatchStream {
    /// Returns the messages: `started`, then those of the watcher. A message is made when it is polled,
    /// that is when the client's flow-control window allows it, so a slow client queues nothing.
    pub(super) fn messages(
        self,
        started: EncodedWatchExitsResponse,
    ) -> impl Stream<Item = Item> + Send + 'static {
        stream::unfold(Some(State::Start(self, started)), |state| async {
            Some(next(state?).await)
        })
    }
}

impl WatchStream {
    /// The workloads to send before an event.
    fn new_workloads(&mut self, event: &WatchEvent) -> Vec<v1::Workload> {
        let mut workloads = self.sent.changed(self.watcher.cgroups().version());
        workloads.extend(match event {
            WatchEvent::Exits { cgroups, .. } => self.sent.new_of(cgroups),
            WatchEvent::Lost(loss) => self.sent.new_of(loss.by_cgroup.iter().map(|(it, _)| it)),
            _ => Vec::new(),
        });
        workloads
    }

    /// Returns the exits, or copies without the redacted fields.
    fn shown(&self, slices: Vec<Bytes>) -> Result<Vec<Bytes>, RpcError> {
        let Some(redaction) = self.redaction else { return Ok(slices) };
        Ok(vec![strip_events(&slices, redaction)?])
    }
}

async fn next(state: State) -> (Item, Option<State>) {
    let (stream, event) = match state {
        State::Start(stream, started) => return (Ok(started), Some(State::Watch(stream))),
        State::End(error) => return (Err(error.into()), None),
        State::Watch(mut stream) => {
            if stream.watcher.is_behind() {
                stream.turns.wait().await;
            }
            let event = stream.watcher.next().await;
            let workloads = stream.new_workloads(&event);
            if !workloads.is_empty() {
                let message = stream.framer.workloads(workloads);
                return (Ok(message), Some(State::Event(stream, event)));
            }
            (stream, event)
        }
        State::Event(stream, event) => (stream, event),
    };
    let message = match event {
        WatchEvent::Exits { slices, cursor, .. } => match stream.shown(slices) {
            Ok(slices) => stream.framer.events(slices, cursor),
            Err(error) => return (Err(error.into()), None),
        },
        WatchEvent::Lost(loss) => stream.framer.lost(&loss),
        WatchEvent::Heartbeat { cursor } => stream.framer.heartbeat(cursor),
        WatchEvent::Ended { cursor } => {
            return (Ok(stream.framer.heartbeat(cursor)), Some(State::End(RpcError::Draining)));
        }
        WatchEvent::Lagged { cursor } => {
            return (Ok(stream.framer.heartbeat(cursor)), Some(State::End(RpcError::Lagged)));
        }
    };
    (Ok(message), Some(State::Watch(stream)))
}
