//! Queries for running tasks.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::record::Record;
use super::socket::Socket;
use super::wire::{Message, find};

/// Queries a task (`TASKSTATS_CMD_ATTR_PID`).
const ASK_PID: u16 = 1;
/// Queries a process (`TASKSTATS_CMD_ATTR_TGID`).
const ASK_TGID: u16 = 2;
/// The record itself (`TASKSTATS_TYPE_STATS`).
pub(super) const STATS: u16 = 3;
/// A task's id and record (`TASKSTATS_TYPE_AGGR_PID`).
pub(super) const AGGREGATE_PID: u16 = 4;
/// A process' id and record (`TASKSTATS_TYPE_AGGR_TGID`).
pub(super) const AGGREGATE_TGID: u16 = 5;

/// A socket for questions about live tasks.
#[derive(Debug)]
pub struct Query {
    socket: Socket,
}

impl Query {
    /// Opens a socket for questions.
    ///
    /// # Errors
    ///
    /// As in [`Socket::open`].
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open()? })
    }

    /// Returns the record of a live task.
    ///
    /// # Errors
    ///
    /// The kernel returns an error, for example for a task that does not exist.
    pub fn pid(&mut self, pid: u32) -> Result<Record> {
        self.ask(ASK_PID, pid, AGGREGATE_PID)
    }

    /// Returns the record of a live process.
    ///
    /// # Errors
    ///
    /// As in [`Query::pid`].
    pub fn tgid(&mut self, tgid: u32) -> Result<Record> {
        self.ask(ASK_TGID, tgid, AGGREGATE_TGID)
    }

    fn ask(&mut self, attribute: u16, id: u32, aggregate: u16) -> Result<Record> {
        self.socket.request(attribute, &id.to_ne_bytes(), false)?;
        let response = Message::decode(self.socket.receive()?)?;
        if let Some(errno) = response.errno()? {
            bail!("the kernel has no statistics of {id}: {}", Errno::from_raw(errno));
        }
        let nest = find(&response.attributes()?, aggregate).context("reply without statistics")?;
        let stats = find(&nest.nested()?, STATS).context("statistics without a record")?;
        Ok(Record::new(stats.value))
    }
}
