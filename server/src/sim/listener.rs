//! A listener of the simulated kernel, with one socket for each CPU like a real one.

use std::sync::Arc;
use std::time::Duration;

use super::socket::{Purpose, ReadyList, ReadyListWaker, SimInbox, SimSocket};
use super::world::{PortId, World};
use super::{SharedWorld, TimeSource};
use crate::taskstats::drain::{CpuQueue, CpuQueues, DatagramSource, ExitDecoder};
use crate::taskstats::reply::{REGISTER, refused};
use crate::taskstats::{
    Cpumask, Depth, Drained, ExitListener, ExitSink, KeptSocket, KernelError, Wake,
};

/// A listener with one socket for each CPU.
#[derive(Debug)]
pub(super) struct SimListener {
    shared: Arc<SharedWorld>,
    purpose: Purpose,
    queues: CpuQueues<BoundSocket>,
    ready_list: Arc<ReadyList>,
}

/// A socket and its port id.
#[derive(Debug)]
pub(super) struct BoundSocket {
    socket: Arc<SimSocket>,
    port: PortId,
}

impl DatagramSource for BoundSocket {
    type Inbox = SimInbox;

    fn receive_many(&self, inbox: &mut SimInbox) -> std::io::Result<usize> {
        self.socket.receive_many(inbox)
    }

    fn drops(&self) -> std::io::Result<u32> {
        self.socket.drops()
    }
}

impl SimListener {
    pub(super) fn new(shared: Arc<SharedWorld>, purpose: Purpose) -> Self {
        let queues = CpuQueues::new(SimInbox::default());
        Self { shared, purpose, queues, ready_list: Arc::default() }
    }

    fn bind(&self, world: &mut World, cpu: u32) -> (PortId, Arc<SimSocket>) {
        let ready_list = Arc::clone(&self.ready_list);
        world.bind(SimSocket::new(self.shared.limit, ready_list, cpu, self.purpose))
    }

    /// Closes all sockets like a process that is killed: their registrations remain.
    pub(super) fn abandon(mut self) {
        let mut world = self.shared.world();
        for (_, queue) in self.queues.remove_all() {
            world.close(queue.socket.port);
        }
    }

    /// Opens a socket without registering it. It receives the exits that the last owner of its port
    /// id registered for.
    pub(super) fn open_unregistered(&mut self, cpu: u32) {
        let mut world = self.shared.world();
        let (port, socket) = self.bind(&mut world, cpu);
        self.queues.insert(CpuQueue::new(cpu, BoundSocket { socket, port }, None));
    }
}

impl ExitListener for SimListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(ReadyListWaker(Arc::clone(&self.ready_list)))
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        let mut world = self.shared.world();
        let (port, socket) = self.bind(&mut world, cpu);
        // A port id can inherit the registrations of a listener that died.
        world.deregister(port);
        if let Err(errno) = world.register(port, &Cpumask::from_iter([cpu])) {
            world.close(port);
            return Err(match errno {
                libc::ENOENT => KernelError::NoFamily,
                errno => refused(REGISTER, errno),
            });
        }
        drop(world);
        self.queues.insert(CpuQueue::new(cpu, BoundSocket { socket, port }, None));
        Ok(())
    }

    /// A simulated socket has no file descriptor and ends with the process.
    fn keep(self: Box<Self>) -> Vec<KeptSocket> {
        Vec::new()
    }

    fn close(&mut self, cpu: u32, sink: &mut dyn ExitSink) {
        let Some(queue) = self.queues.remove(cpu) else { return };
        self.shared.world().deregister(queue.socket.port);
        let BoundSocket { port, .. } = self.queues.finish(queue, &mut ExitDecoder(sink));
        self.shared.world().close(port);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        let ready = &mut self.queues.ready;
        // A stepped machine does not advance while its listener waits.
        let at_once = !ready.is_empty() || self.shared.time == TimeSource::Stepped;
        let timeout = if at_once { Some(Duration::ZERO) } else { timeout };
        self.ready_list.wait(timeout, ready);
        Ok(())
    }

    fn drain(&mut self, depth: Depth, sink: &mut dyn ExitSink) -> Drained {
        self.queues.drain(depth, &mut ExitDecoder(sink))
    }

    fn check_drops(&mut self, sink: &mut dyn ExitSink) {
        self.queues.check_drops(&mut ExitDecoder(sink));
    }
}

impl Drop for SimListener {
    /// Ends all registrations.
    fn drop(&mut self) {
        let mut world = self.shared.world();
        for (_, queue) in self.queues.remove_all() {
            world.deregister(queue.socket.port);
            world.close(queue.socket.port);
        }
    }
}
