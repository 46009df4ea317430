//! The system calls of eBPF that no crate in use wraps: `bpf(2)`, the mapping of an array, and
//! `SO_ATTACH_BPF`.
#![expect(unsafe_code, reason = "bpf(2), mmap(2) and a socket option that no crate in use wraps")]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::assembler::Instruction;

/// `BPF_MAP_CREATE` (`include/uapi/linux/bpf.h`).
const MAP_CREATE: libc::c_int = 0;
/// `BPF_PROG_LOAD`.
const PROGRAM_LOAD: libc::c_int = 5;
/// `BPF_MAP_TYPE_ARRAY`.
const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_PROG_TYPE_SOCKET_FILTER`.
const PROGRAM_TYPE_SOCKET_FILTER: u32 = 1;
/// Bytes of the verifier's log that are kept when it refuses a program.
const LOG_BYTES: usize = 64 * 1024;

/// The part of `union bpf_attr` that `BPF_MAP_CREATE` reads. The kernel accepts a shorter structure
/// than its own and treats the rest as zero.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct ProgramAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
}

/// Creates an array map of `entries` values of `value_bytes` bytes that can be mapped into memory.
///
/// # Errors
/// `EPERM` without `CAP_BPF`; otherwise the kernel's error.
pub(super) fn create_array(entries: u32, value_bytes: u32) -> io::Result<OwnedFd> {
    let attributes = MapAttributes {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: value_bytes,
        max_entries: entries,
        map_flags: MMAPABLE,
    };
    bpf(MAP_CREATE, &attributes)
}

/// Loads a socket filter.
///
/// # Errors
/// The kernel's error, and the last line of the verifier's log if it wrote one.
pub(super) fn load_program(
    instructions: &[Instruction],
    license: &std::ffi::CStr,
) -> Result<OwnedFd, (io::Error, String)> {
    let attributes = ProgramAttributes {
        program_type: PROGRAM_TYPE_SOCKET_FILTER,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
    };
    let refused = match bpf(PROGRAM_LOAD, &attributes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    // The verifier writes its log only on request, and slowly, so only a refused program pays for it.
    let mut log = vec![0_u8; LOG_BYTES];
    let logged = ProgramAttributes {
        log_level: 1,
        log_size: u32::try_from(log.len()).unwrap_or(0),
        log_buffer: log.as_mut_ptr() as u64,
        ..attributes
    };
    match bpf(PROGRAM_LOAD, &logged) {
        Ok(program) => Ok(program),
        Err(_) => Err((refused, last_line(&log))),
    }
}

/// The last line with text of a NUL-terminated log.
fn last_line(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines = text.lines().map(str::trim);
    let says_why = |line: &&str| !line.is_empty() && !line.starts_with("processed ");
    lines.rev().find(says_why).unwrap_or_default().to_owned()
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the pointer and the size are those of `attributes`, which outlives the call. The
    // addresses inside it, where there are any, belong to buffers that the caller borrows for the
    // call, with the lengths that stand beside them.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attributes), size_of::<T>()) };
    let descriptor = RawFd::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches a loaded program to a socket. Needs no capability.
///
/// # Errors
/// The kernel's error.
pub(super) fn attach(socket: &impl AsRawFd, program: BorrowedFd<'_>) -> io::Result<()> {
    let program = program.as_raw_fd();
    let length = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or(0);
    // SAFETY: the pointer and the length are those of `program`, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            ptr::from_ref(&program).cast(),
            length,
        )
    };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An array map's values, shared with the kernel. Each 8-byte word is accessed atomically, since a
/// filter may write at any time.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is shared memory of atomic words; nothing in it belongs to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `words` 8-byte words of an array map.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                words * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        Ok(Self { start, words })
    }

    /// The words of the mapping.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `words` words, is page-aligned, readable, writable and zeroed by the
        // kernel, and lives as long as `self`. Others write to it, which atomics allow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// The 4-byte halves of the words, in the order of memory.
    pub(super) fn halves(&self) -> &[AtomicU32] {
        // SAFETY: as in `words`; a `u32` has a smaller alignment. The kernel writes these words only in
        // halves, and so does the agent: `layout` gives each word one kind of access.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words * 2) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `new` mapped, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}
