//! One watcher's stream of messages.

use futures_util::stream::{self, Stream};
use taskstats_proto::EncodedWatchExitsResponse;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::RpcError;
use super::frame::Framer;
use crate::exits::{Told, Watcher};

/// What a stream needs until its end.
pub(super) struct WatchStream {
    pub(super) watcher: Watcher,
    pub(super) framer: Framer,
    /// Counts the stream among the watchers.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What a stream does next.
enum State {
    Start(WatchStream, EncodedWatchExitsResponse),
    Watch(WatchStream),
    /// The last cursor was sent; the status follows.
    End(RpcError),
}

type Item = Result<EncodedWatchExitsResponse, Status>;

impl WatchStream {
    /// The messages: `started`, then what the watcher tells. They are made when they are asked for,
    /// which is when the client's HTTP/2 window has room for them, so a slow client queues nothing.
    pub(super) fn messages(
        self,
        started: EncodedWatchExitsResponse,
    ) -> impl Stream<Item = Item> + Send + 'static {
        stream::unfold(Some(State::Start(self, started)), |state| async {
            Some(next(state?).await)
        })
    }
}

async fn next(state: State) -> (Item, Option<State>) {
    let mut stream = match state {
        State::Start(stream, started) => return (Ok(started), Some(State::Watch(stream))),
        State::End(error) => return (Err(error.into()), None),
        State::Watch(stream) => stream,
    };
    let message = match stream.watcher.next().await {
        Told::Exits { slices, cursor } => stream.framer.events(slices, cursor),
        Told::Lost(loss) => stream.framer.lost(&loss),
        Told::Heartbeat { cursor } => stream.framer.heartbeat(cursor),
        Told::Ended { cursor } => {
            return (Ok(stream.framer.heartbeat(cursor)), Some(State::End(RpcError::Draining)));
        }
        Told::Lagged { cursor } => {
            return (Ok(stream.framer.heartbeat(cursor)), Some(State::End(RpcError::Lagged)));
        }
    };
    (Ok(message), Some(State::Watch(stream)))
}
