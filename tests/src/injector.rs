//! Makes system calls in a thread of another process, as code that took the process over would.
//!
//! Works on x86-64 only, and needs `CAP_SYS_PTRACE` for processes that are not dumpable.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The instruction `syscall`, which is the same for each call.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Bytes below the stack pointer that a function may use (System V ABI of x86-64, section 3.2.2).
const RED_ZONE: u64 = 128;
/// Bytes below the red zone in which arguments are placed: a path, or a few structures.
const SCRATCH: u64 = 4096;
/// Arguments in memory are aligned to this.
const ALIGNMENT: usize = 16;
/// Registers for arguments of system calls.
const REGISTERS: usize = 6;
/// The largest error number that a system call returns (`MAX_ERRNO` in `include/linux/err.h`).
const MAX_ERRNO: i64 = 4095;
/// The results that are error numbers.
const ERRORS: std::ops::Range<i64> = -MAX_ERRNO..0;
/// In place of a system call's number: none is interrupted, so that the kernel restarts none.
const NO_CALL: u64 = u64::MAX;

/// An argument of a system call.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    /// A number.
    Number(i64),
    /// The address of these bytes in the other process.
    Bytes(&'a [u8]),
}

/// The result of a system call, or the error that the kernel returned.
pub type Outcome = Result<i64, Errno>;

/// A stopped thread of another process. Dropping it restores the registers and lets the thread run. If
/// the thread that created this ends without dropping it, the kernel kills the process.
#[derive(Debug)]
pub struct Injector {
    process: Pid,
    thread: Pid,
    registers: user_regs_struct,
    instruction: u64,
    memory: File,
    /// Addresses of the arguments of the last call that are in memory.
    placed: Vec<u64>,
    /// Signals that arrived in the meantime, and are sent again.
    signals: Vec<Signal>,
}

impl Injector {
    /// Stops a thread of a process. All calls must be made by the thread that called this.
    ///
    /// # Errors
    ///
    /// The thread has ended, or the kernel does not permit it.
    pub fn attach(process: Pid, thread: Pid) -> Result<Self> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{process}/mem"))?;
        let instruction = find_instruction(process, &memory)?;
        let children = Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE;
        ptrace::seize(thread, children | Options::PTRACE_O_EXITKILL)
            .with_context(|| format!("attach to thread {thread}"))?;
        ptrace::interrupt(thread)?;
        loop {
            match waitpid(thread, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceEvent(..) => break,
                // A signal arrived first, and the stop follows.
                WaitStatus::Stopped(_, signal) => ptrace::cont(thread, signal)?,
                other => bail!("thread {thread} did not stop: {other:?}"),
            }
        }
        let registers = ptrace::getregs(thread)?;
        let (placed, signals) = (Vec::new(), Vec::new());
        Ok(Self { process, thread, registers, instruction, memory, placed, signals })
    }

    /// Makes a system call, which must not block. A process that it starts is killed.
    ///
    /// # Errors
    ///
    /// The thread has ended, or the arguments are too many or too large.
    pub fn call(&mut self, number: i64, arguments: &[Argument<'_>]) -> Result<Outcome> {
        let mut values = [0; REGISTERS];
        ensure!(arguments.len() <= REGISTERS, "a system call has {REGISTERS} arguments");
        let top = self.registers.rsp - RED_ZONE;
        let mut free = (top - SCRATCH).next_multiple_of(ALIGNMENT.try_into()?);
        self.placed.clear();
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = match argument {
                Argument::Number(number) => number.cast_unsigned(),
                Argument::Bytes(bytes) => {
                    let address = free;
                    free += u64::try_from(bytes.len().next_multiple_of(ALIGNMENT))?;
                    ensure!(free <= top, "the arguments are too large");
                    self.memory.write_all_at(bytes, address)?;
                    self.placed.push(address);
                    address
                }
            };
        }
        let [rdi, rsi, rdx, r10, r8, r9] = values;
        let rip = self.instruction;
        let rax = number.cast_unsigned();
        let call = user_regs_struct { rdi, rsi, rdx, r10, r8, r9, rip, rax, ..self.registers };
        ptrace::setregs(self.thread, user_regs_struct { orig_rax: NO_CALL, ..call })?;
        self.step()?;
        let result = ptrace::getregs(self.thread)?;
        let next = self.instruction + u64::try_from(SYSCALL.len())?;
        ensure!(result.rip == next, "the thread is at {:#x}, not at {next:#x}", result.rip);
        Ok(match result.rax.cast_signed() {
            error if ERRORS.contains(&error) => Err(Errno::from_raw(i32::try_from(-error)?)),
            value => Ok(value),
        })
    }

    /// Returns `length` bytes of memory that was the `index`th [`Argument::Bytes`] of the last call.
    ///
    /// # Errors
    ///
    /// There was no such argument.
    pub fn read(&self, index: usize, length: usize) -> Result<Vec<u8>> {
        let address = self.placed.get(index).context("no such argument")?;
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, *address)?;
        Ok(bytes)
    }

    /// Lets the thread execute one instruction.
    fn step(&mut self) -> Result<()> {
        loop {
            ptrace::step(self.thread, None)?;
            match waitpid(self.thread, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => return Ok(()),
                WaitStatus::Stopped(_, signal) => self.signals.push(signal),
                // A new process, which is traced too.
                WaitStatus::PtraceEvent(..) => {
                    let child = Pid::from_raw(ptrace::getevent(self.thread)?.try_into()?);
                    kill(child, Signal::SIGKILL)?;
                    while !matches!(
                        waitpid(child, Some(WaitPidFlag::__WALL))?,
                        WaitStatus::Signaled(..)
                    ) {}
                }
                other => bail!("the thread did not return from the call: {other:?}"),
            }
        }
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let restored = ptrace::setregs(self.thread, self.registers);
        if let Err(error) = restored.and_then(|()| ptrace::detach(self.thread, None)) {
            eprintln!("thread {} was not restored: {error}", self.thread);
        }
        for signal in &self.signals {
            // The process may have ended.
            let _gone = kill(self.process, *signal);
        }
    }
}

/// Returns the address of the instruction in executable memory.
fn find_instruction(process: Pid, memory: &File) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let executable = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("r-x").then_some((number(start)?, number(end)?))
    });
    for (start, end) in executable {
        let mut code = vec![0; usize::try_from(end - start)?];
        memory.read_exact_at(&mut code, start)?;
        if let Some(at) = code.windows(SYSCALL.len()).position(|bytes| bytes == SYSCALL) {
            return Ok(start + u64::try_from(at)?);
        }
    }
    bail!("process {process} has no instruction for system calls")
}
