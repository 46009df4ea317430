//! Taking a capture from the running kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::error::RecordError;
use super::format::{CaptureEntry, CaptureHeader, CaptureTotals};
use super::writer::CaptureWriter;
use crate::bpf::CgroupLosses;
use crate::clock::unix_time;
use crate::taskstats::{
    Attributor, Cpumask, Kernel, KernelError, LinuxKernel, MessageSink, RawListener, TaskId, Wake,
};

/// Accounts are nobody's business but the owner's.
const FILE_MODE: u32 = 0o600;
/// For what is still to be written at the end: full receive buffers take a slow disk a second or two.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// What to capture.
#[derive(Clone, Debug)]
pub struct CapturePlan {
    /// How long.
    pub duration: Duration,
    /// The CPUs to listen to, in the kernel's list syntax; those online if `None`.
    pub cpus: Option<String>,
    /// Live tasks and groups to ask for at the begin.
    pub tasks: Vec<TaskId>,
    /// The file to make; standard output if `None`.
    pub output: Option<PathBuf>,
    /// Receive buffer of each CPU, bytes.
    pub receive_buffer: usize,
    /// Whether to ask even a kernel that is known to panic on it.
    pub ignore_known_bad_kernel: bool,
}

/// A capture whose kernel listens already, and whose file is still empty.
pub struct Recorder {
    listener: RawListener,
    cpus: Cpumask,
    replies: Vec<CaptureEntry>,
    header: CaptureHeader,
    output: Box<dyn Write + Send>,
    duration: Duration,
    stopper: Stopper,
}

/// Ends a recording early.
#[derive(Clone)]
pub struct Stopper {
    is_over: Arc<AtomicBool>,
    waker: Arc<dyn Wake>,
}

impl Stopper {
    /// Ends the recording; what the kernel told until now is still written.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Recorder {
    /// Begins to listen, asks for the tasks, and makes the file.
    ///
    /// # Errors
    /// Why the kernel or the file system refused. No file is left behind then.
    pub fn prepare(plan: &CapturePlan) -> Result<Self, RecordError> {
        let mut kernel = LinuxKernel::new(plan.receive_buffer)?;
        if plan.ignore_known_bad_kernel {
            kernel = kernel.ignoring_known_bugs();
        }
        let cpus = match &plan.cpus {
            Some(list) => {
                Cpumask::parse(list, kernel.possible_cpus()).map_err(RecordError::Cpus)?
            }
            None => kernel.online_cpus()?,
        };
        // Where no exits arrive, registering succeeds all the same.
        kernel.check_exits()?;
        let mut listener = kernel.listen_raw()?;
        for cpu in cpus.iter() {
            listener.open(cpu)?;
        }
        let replies: Result<Vec<_>, _> = plan.tasks.iter().map(|id| ask(&kernel, *id)).collect();
        let header = CaptureHeader {
            taskstats_version: kernel.query(TaskId::Pid(std::process::id()))?.version,
            begun_at_ns: now_ns(),
            kernel_release: kernel.release().to_owned(),
            cpus: cpus.to_string(),
        };
        let waker = Arc::from(listener.waker());
        let stopper = Stopper { is_over: Arc::default(), waker };
        let (replies, duration) = (replies?, plan.duration);
        let output = open(plan.output.as_deref())?;
        Ok(Self { listener, cpus, replies, header, output, duration, stopper })
    }

    /// What the capture says of itself.
    #[must_use]
    pub fn header(&self) -> &CaptureHeader {
        &self.header
    }

    /// A handle that ends the recording early.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Records until the time is over or the [`Stopper`] was used.
    ///
    /// # Errors
    /// When the kernel cannot be listened to, or the output takes no more.
    pub fn run(mut self) -> Result<CaptureTotals, RecordError> {
        let deadline = Instant::now() + self.duration;
        let mut writer =
            CaptureWriter::new(self.output, &self.header).map_err(RecordError::Write)?;
        for reply in &self.replies {
            writer.write(reply).map_err(RecordError::Write)?;
        }
        let mut file = FileSink { writer, outcome: Ok(()) };
        while file.outcome.is_ok() && !self.stopper.is_over.load(Ordering::Acquire) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.listener.wait(Some(left))?;
            self.listener.drain(&mut file);
        }
        for cpu in self.cpus.iter() {
            self.listener.close(cpu, &mut file);
        }
        file.outcome.and_then(|()| file.writer.finish(now_ns())).map_err(RecordError::Write)
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recorder").field("header", &self.header).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stopper").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// Runs a recorder on a thread of the runtime until its time is over or `interrupted` returns. Then
/// what was recorded is written; if the output does not take it in some seconds, or until `interrupted`
/// returns once more, the thread is left behind, blocked.
///
/// # Errors
/// As [`Recorder::run`]; [`RecordError::Stuck`] when the thread was left behind.
pub async fn record(
    recorder: Recorder,
    mut interrupted: impl AsyncFnMut(),
) -> Result<CaptureTotals, RecordError> {
    let (stopper, duration) = (recorder.stopper(), recorder.duration);
    let mut recording = tokio::task::spawn_blocking(move || recorder.run());
    tokio::select! {
        recorded = &mut recording => return recorded.map_err(|_| RecordError::Abandoned)?,
        () = interrupted() => stopper.stop(),
        () = sleep(duration) => {}
    }
    tokio::select! {
        recorded = &mut recording => recorded.map_err(|_| RecordError::Abandoned)?,
        () = interrupted() => Err(RecordError::Stuck),
        () = sleep(LAST_WRITES) => Err(RecordError::Stuck),
    }
}

/// Writes what a listener hands on.
struct FileSink<W> {
    writer: CaptureWriter<W>,
    /// The first failure; nothing is written after it.
    outcome: io::Result<()>,
}

impl<W: Write> FileSink<W> {
    fn write(&mut self, entry: &CaptureEntry) {
        if self.outcome.is_ok() {
            self.outcome = self.writer.write(entry);
        }
    }
}

impl<W: Write> MessageSink for FileSink<W> {
    fn datagram(&mut self, cpu: u32, datagram: &[u8], _: &mut Attributor<'_>) {
        let message = datagram.to_vec();
        self.write(&CaptureEntry::Exit { cpu, received_at_ns: now_ns(), message });
    }

    fn dropped(&mut self, cpu: u32, count: u64, _: CgroupLosses) {
        self.write(&CaptureEntry::Dropped { cpu, noticed_at_ns: now_ns(), count });
    }
}

fn ask(kernel: &LinuxKernel, id: TaskId) -> Result<CaptureEntry, KernelError> {
    let message = kernel.reply(id)?;
    Ok(CaptureEntry::Reply { id, received_at_ns: now_ns(), message })
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write + Send>, RecordError> {
    let Some(path) = path else {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(RecordError::Terminal);
        }
        return Ok(Box::new(BufWriter::new(stdout)));
    };
    let file: io::Result<File> =
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    let file = file.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
        _ => RecordError::Output { path: path.to_owned(), source },
    })?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Nanoseconds since 1970; 0 for a clock that stands before.
fn now_ns() -> u64 {
    u64::try_from(unix_time().as_nanos()).unwrap_or(u64::MAX)
}
