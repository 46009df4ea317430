//! Recording of captures from the running kernel.

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

/// Only the owner may read the statistics.
const FILE_MODE: u32 = 0o600;
/// The time to write the remaining entries at the end. A slow disk needs a second or two for full
/// receive buffers.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of a recording.
#[derive(Clone, Debug)]
pub(crate) struct CapturePlan {
    /// The duration.
    pub(crate) duration: Duration,
    /// The CPUs to capture, in the kernel's list syntax; `None` for the online CPUs.
    pub(crate) cpus: Option<String>,
    /// Live tasks and groups to query at the start.
    pub(crate) tasks: Vec<TaskId>,
    /// The file to create; `None` for standard output.
    pub(crate) output: Option<PathBuf>,
    /// The size of each CPU's receive buffer, in bytes.
    pub(crate) receive_buffer: usize,
    /// Allows queries to a kernel that is known to panic on them.
    pub(crate) ignore_known_bad_kernel: bool,
}

/// A recording that is registered with the kernel, and whose output is still empty.
pub(crate) struct Recorder {
    listener: RawListener,
    cpus: Cpumask,
    replies: Vec<CaptureEntry>,
    header: CaptureHeader,
    output: Box<dyn Write + Send>,
    duration: Duration,
    stopper: Stopper,
}

/// A handle that ends a recording early.
#[derive(Clone)]
pub(crate) struct Stopper {
    is_over: Arc<AtomicBool>,
    waker: Arc<dyn Wake>,
}

impl Stopper {
    /// Ends the recording. Exits that the kernel has sent are still written.
    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Recorder {
    /// Registers with the kernel, queries the tasks, and creates the output.
    ///
    /// # Errors
    /// The error of the kernel or the file system. The output is not created in that case.
    pub(crate) fn prepare(plan: &CapturePlan) -> Result<Self, RecordError> {
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
        // Registering succeeds even where no exits arrive.
        kernel.check_exits()?;
        let mut listener = kernel.listen_raw()?;
        for cpu in cpus.iter() {
            listener.open(cpu)?;
        }
        let replies: Result<Vec<_>, _> = plan.tasks.iter().map(|id| query(&kernel, *id)).collect();
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

    /// Returns the header of the capture.
    #[must_use]
    pub(crate) fn header(&self) -> &CaptureHeader {
        &self.header
    }

    /// Returns a handle that ends the recording early.
    #[must_use]
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Records until the duration is over or the [`Stopper`] was used.
    ///
    /// # Errors
    /// The error of receiving exits or of writing the output.
    pub(crate) fn run(mut self) -> Result<CaptureTotals, RecordError> {
        let deadline = Instant::now() + self.duration;
        let mut writer =
            CaptureWriter::new(self.output, &self.header).map_err(RecordError::Write)?;
        for reply in &self.replies {
            writer.write(reply).map_err(RecordError::Write)?;
        }
        let mut file = FileSink { writer, result: Ok(()) };
        while file.result.is_ok() && !self.stopper.is_over.load(Ordering::Acquire) {
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
        file.result.and_then(|()| file.writer.finish(now_ns())).map_err(RecordError::Write)
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

/// Runs a recorder on a blocking thread of the runtime until its duration is over or `interrupted`
/// returns. Then it waits until the remaining entries are written. If that lasts longer than a few
/// seconds, or if `interrupted` returns again, the blocked thread is abandoned.
///
/// # Errors
/// As [`Recorder::run`]; [`RecordError::Stuck`] if the thread was abandoned.
pub(crate) async fn record(
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
        () = sleep(FLUSH_TIMEOUT) => Err(RecordError::Stuck),
    }
}

/// Writes the messages that a listener receives.
struct FileSink<W> {
    writer: CaptureWriter<W>,
    /// The first error. After it nothing is written.
    result: io::Result<()>,
}

impl<W: Write> FileSink<W> {
    fn write(&mut self, entry: &CaptureEntry) {
        if self.result.is_ok() {
            self.result = self.writer.write(entry);
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

fn query(kernel: &LinuxKernel, id: TaskId) -> Result<CaptureEntry, KernelError> {
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

/// Returns the nanoseconds since the Unix epoch; 0 before it.
fn now_ns() -> u64 {
    u64::try_from(unix_time().as_nanos()).unwrap_or(u64::MAX)
}
