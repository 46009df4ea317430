//! Requests of streams of exits.

use std::time::Duration;

use taskstats_proto::v1::{Cursor, OnLag, Scope, WatchExitsRequest};

use crate::error::Error;

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
    fn a_plain_request_is_the_empty_message() {
        let message = WatchRequest::new().into_message().unwrap();
        assert_eq!(message, WatchExitsRequest::default());
    }

    #[test]
    fn a_delay_that_exceeds_a_message_is_refused() {
        let request = WatchRequest::new().max_batch_delay(Duration::MAX);
        assert!(matches!(request.into_message(), Err(Error::InvalidArgument { .. })));
    }
}
