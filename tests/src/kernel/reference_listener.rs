//! A second listener, independent of the agent, that records what the kernel sent.

use anyhow::{Context, Result};

use super::query::{AGGREGATE_PID, AGGREGATE_TGID, STATS};
use super::record::{Record, offset};
use super::socket::Socket;
use super::wire::{Attribute, Message, find, read_u32};

/// The id of a process (`TASKSTATS_TYPE_TGID`).
const TGID: u16 = 2;
/// Since when a task's record has the id of its process.
const TGID_SINCE: u32 = 12;
/// Holds about 100,000 exits of one CPU (1,280 bytes of kernel memory each), so that the reference
/// can stay idle while the load runs.
const RECEIVE_BUFFER: usize = 64 * 1024 * 1024;

/// Listens on every CPU from [`ReferenceListener::open`] until it is dropped.
#[derive(Debug)]
pub struct ReferenceListener {
    sockets: Vec<Socket>,
}

/// One exit as the kernel reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenExit {
    /// The CPU that it happened on.
    pub cpu: u32,
    /// The kernel's number of the message.
    pub kernel_sequence: u32,
    /// The task's record.
    pub task: Record,
    /// The id and the record of the process, if the message has them.
    pub group: Option<(u32, Record)>,
}

impl ReferenceListener {
    /// Starts to listen on each of `cpus`.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn open(cpus: &[u32]) -> Result<Self> {
        let mut sockets = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            let mut socket = Socket::open()?;
            socket.set_receive_buffer(RECEIVE_BUFFER)?;
            socket.register(&cpu.to_string())?;
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// Returns everything that exited since the last call, CPU by CPU, each in the kernel's order.
    ///
    /// The kernel reports the exit of a task before `wait` returns, so there is nothing to wait for
    /// here.
    ///
    /// # Errors
    ///
    /// The kernel dropped a message, so the record is incomplete.
    pub fn take(&mut self) -> Result<Vec<SeenExit>> {
        let mut exits = Vec::new();
        for (cpu, socket) in (0..).zip(&mut self.sockets) {
            while let Some(datagram) = socket.try_receive()? {
                exits.push(SeenExit::decode(cpu, datagram)?);
            }
        }
        Ok(exits)
    }
}

impl Drop for ReferenceListener {
    fn drop(&mut self) {
        for (cpu, socket) in (0_u32..).zip(&self.sockets) {
            // Closing the socket also ends the registration, at the next exit.
            drop(socket.deregister(&cpu.to_string()));
        }
    }
}

impl SeenExit {
    /// Returns the id of the task that exited.
    ///
    /// # Errors
    ///
    /// The record is too short.
    pub fn pid(&self) -> Result<u32> {
        self.task.u32(offset::PID)
    }

    /// Returns the id of the process that the task belonged to.
    ///
    /// # Errors
    ///
    /// The record is too short, as before version 12.
    pub fn tgid(&self) -> Result<u32> {
        self.task.u32(offset::TGID)
    }

    /// Returns the id of the process, or `None` if the kernel does not report it.
    ///
    /// # Errors
    ///
    /// The record is too short.
    pub fn known_tgid(&self) -> Result<Option<u32>> {
        if self.task.version()? < TGID_SINCE {
            return Ok(None);
        }
        self.tgid().map(Some)
    }

    fn decode(cpu: u32, datagram: &[u8]) -> Result<Self> {
        let message = Message::decode(datagram)?;
        let attributes = message.attributes()?;
        let nest = find(&attributes, AGGREGATE_PID).context("exit without statistics")?;
        let stats = find(&nest.nested()?, STATS).context("statistics without a record")?;
        Ok(Self {
            cpu,
            kernel_sequence: message.sequence,
            task: Record::new(stats.value),
            group: find(&attributes, AGGREGATE_TGID).map(|nest| group(&nest)).transpose()?,
        })
    }
}

fn group(nest: &Attribute<'_>) -> Result<(u32, Record)> {
    let inside = nest.nested()?;
    let id = find(&inside, TGID).context("group without id")?;
    let stats = find(&inside, STATS).context("group without record")?;
    Ok((read_u32(id.value, 0)?, Record::new(stats.value)))
}
