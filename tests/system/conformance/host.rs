//! A machine on which tests can start and end tasks, all of them on one CPU.

use anyhow::{Context, Result, ensure};
use taskstats_tests::cpus;
use taskstats_tests::kernel::Socket;
use taskstats_tests::workload::Workload;
use taskstatsd::bpf::CgroupLosses;
use taskstatsd::sim::SimKernel;
use taskstatsd::taskstats::{Depth, Drained, Exit, ExitListener, ExitSink, Kernel, LinuxKernel};

/// Holds whatever these tests make.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The simulated machine's CPUs.
const SIM_CPUS: u32 = 3;

/// A kernel, and the operations of a test besides queries.
pub(super) trait Host: Sized {
    /// A process that lives.
    type Process;

    /// Opens the kernel, with receive buffers of some size.
    fn with_receive_buffer(bytes: usize) -> Result<Self>;

    fn open() -> Result<Self> {
        Self::with_receive_buffer(RECEIVE_BUFFER)
    }

    fn kernel(&self) -> &dyn Kernel;

    /// The CPU on which everything ends.
    fn cpu(&self) -> u32;

    /// Starts a process with additional threads.
    async fn start(&self, threads: usize) -> Result<Self::Process>;

    fn pid_of(process: &Self::Process) -> u32;

    /// Ends a process, its threads first. The kernel has reported all of it when this returns.
    async fn end(&self, process: Self::Process) -> Result<()>;

    /// Runs a process that starts and ends so many threads, one after the other; returns its id.
    async fn churn(&self, threads: usize) -> Result<u32>;

    /// Starts a process that starts and ends so many threads, each of which sleeps once, and lives
    /// on.
    async fn outlive(&self, threads: usize) -> Result<Self::Process>;

    /// Returns true if a socket with the address of a dead listener receives an exit after another
    /// exit has happened.
    async fn heir_receives_after_an_exit(&self) -> Result<bool>;
}

/// The kernel that runs this machine.
pub(super) struct Linux {
    kernel: LinuxKernel,
    cpu: u32,
}

impl Host for Linux {
    type Process = Workload;

    fn with_receive_buffer(bytes: usize) -> Result<Self> {
        let cpu = cpus::online()?.pop().context("no CPUs")?;
        Ok(Self { kernel: LinuxKernel::new(bytes)?, cpu })
    }

    fn kernel(&self) -> &dyn Kernel {
        &self.kernel
    }

    fn cpu(&self) -> u32 {
        self.cpu
    }

    async fn start(&self, threads: usize) -> Result<Workload> {
        Workload::waiting(&["--cpu", &self.cpu.to_string(), "threads", &threads.to_string()]).await
    }

    fn pid_of(process: &Workload) -> u32 {
        process.pid()
    }

    async fn end(&self, process: Workload) -> Result<()> {
        let ended = process.end().await?;
        ensure!(ended.status.success(), "{ended:?}");
        Ok(())
    }

    async fn churn(&self, threads: usize) -> Result<u32> {
        let cpu = self.cpu.to_string();
        let ended = Workload::run(&["--cpu", &cpu, "churn-threads", &threads.to_string()]).await?;
        ensure!(ended.status.success(), "{ended:?}");
        Ok(ended.pid)
    }

    async fn outlive(&self, threads: usize) -> Result<Workload> {
        Workload::waiting(&["--cpu", &self.cpu.to_string(), "outlive", &threads.to_string()]).await
    }

    async fn heir_receives_after_an_exit(&self) -> Result<bool> {
        // The first socket of a process gets an address that other tests may want, too.
        let _first = Socket::open()?;
        let mut dead = Socket::open()?;
        dead.register(&self.cpu.to_string())?;
        let port = dead.port_id()?;
        drop(dead);
        self.churn(1).await?;
        let mut successor = Socket::open_at(port)?;
        self.churn(1).await?;
        // An overflow also shows that something was sent.
        Ok(!matches!(successor.try_receive(), Ok(None)))
    }
}

/// The simulated kernel, on which nothing happens by itself.
pub(super) struct Sim {
    kernel: SimKernel,
}

impl Sim {
    fn exit(&self, pid: u32) -> Result<()> {
        ensure!(self.kernel.world().exit(pid, self.cpu(), 0), "no process has pid {pid}");
        Ok(())
    }

    fn spawn(&self) -> Result<u32> {
        self.kernel.world().spawn().context("all ids are taken")
    }

    fn spawn_thread(&self, tgid: u32) -> Result<u32> {
        self.kernel.world().spawn_thread(tgid).context("the process has ended")
    }
}

impl Host for Sim {
    type Process = u32;

    fn with_receive_buffer(bytes: usize) -> Result<Self> {
        let spec = format!("cpus={SIM_CPUS},rate=0").parse()?;
        Ok(Self { kernel: SimKernel::stepped(spec, bytes) })
    }

    fn kernel(&self) -> &dyn Kernel {
        &self.kernel
    }

    fn cpu(&self) -> u32 {
        SIM_CPUS - 1
    }

    async fn start(&self, threads: usize) -> Result<u32> {
        let tgid = self.spawn()?;
        for _ in 0..threads {
            self.spawn_thread(tgid)?;
        }
        self.kernel.world().advance(std::time::Duration::from_millis(10));
        Ok(tgid)
    }

    fn pid_of(process: &u32) -> u32 {
        *process
    }

    async fn end(&self, process: u32) -> Result<()> {
        let threads = self.kernel.threads(process)?;
        threads.iter().rev().try_for_each(|pid| self.exit(*pid))
    }

    async fn churn(&self, threads: usize) -> Result<u32> {
        let tgid = self.outlive(threads).await?;
        self.exit(tgid)?;
        Ok(tgid)
    }

    async fn outlive(&self, threads: usize) -> Result<u32> {
        let tgid = self.spawn()?;
        for _ in 0..threads {
            let thread = self.spawn_thread(tgid)?;
            self.kernel.world().advance(std::time::Duration::from_millis(10));
            self.exit(thread)?;
        }
        Ok(tgid)
    }

    async fn heir_receives_after_an_exit(&self) -> Result<bool> {
        self.kernel.leave_dead_listener(self.cpu())?;
        self.churn(1).await?;
        let mut successor = self.kernel.listen_on_reused_port(self.cpu());
        self.churn(1).await?;
        Ok(take(&mut *successor)?.any())
    }
}

/// The messages that a listener delivered, in order.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) exits: Vec<Exit>,
    /// The drops, as they were reported.
    pub(super) dropped: Vec<u64>,
}

impl ExitSink for Heard {
    fn exit(&mut self, exit: &Exit) {
        self.exits.push(exit.clone());
    }

    fn dropped(&mut self, _: u32, count: u64, _: CgroupLosses) {
        self.dropped.push(count);
    }
}

impl Heard {
    /// The exits of a group's tasks, in order. Others may have ended on the same CPU meanwhile.
    pub(super) fn of(&self, tgid: u32) -> Vec<&Exit> {
        let is_its = |exit: &&Exit| exit.task.identity.tgid == Some(tgid);
        self.exits.iter().filter(is_its).collect()
    }

    /// True if there was any message.
    pub(super) fn any(&self) -> bool {
        !self.exits.is_empty() || !self.dropped.is_empty()
    }
}

/// Opens a listener of the host's CPU.
pub(super) fn listen(host: &impl Host) -> Result<Box<dyn ExitListener>> {
    let mut listener = host.kernel().listen()?;
    listener.open(host.cpu())?;
    Ok(listener)
}

/// Reads everything that a listener has.
pub(super) fn take(listener: &mut dyn ExitListener) -> Result<Heard> {
    let mut heard = Heard::default();
    loop {
        listener.wait(Some(std::time::Duration::ZERO))?;
        if listener.drain(Depth::Empty, &mut heard) == Drained::default() {
            return Ok(heard);
        }
    }
}
