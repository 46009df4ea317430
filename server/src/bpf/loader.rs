//! Loading the filters while the capability is there, and attaching them later without it.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::btf::{BtfError, Offsets};
use super::layout::{ELEMENT_BYTES, Layout};
use super::program::{CgroupSource, assemble};
use super::slots::{KeptSlots, Slots};
use super::syscall::{attach, create_array, load_program};

/// Licence of the program that calls no helper restricted to GPL-compatible programs.
const LICENSE: &CStr = c"Apache-2.0";
/// Licence of the program that reads kernel memory: `bpf_probe_read_kernel` and
/// `bpf_get_current_task` are restricted (`kernel/trace/bpf_trace.c`). The program itself, as
/// assembled by `program`, is therefore offered under both.
const LICENSE_OF_READS: &CStr = c"Dual BSD/GPL";

/// How the filters find a task's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By a helper function: cgroup v2. Needs `CAP_BPF`, Linux 6.4.
    Helper,
    /// By offsets of kernel structures: cgroup v1 and v2. Needs `CAP_BPF` and `CAP_PERFMON`, Linux 5.10
    /// with type information.
    Offsets,
}

/// Reasons for which filters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// An array map was refused.
    #[error("bpf(BPF_MAP_CREATE) failed: {0}")]
    Map(#[source] io::Error),
    /// An array map could not be mapped into memory.
    #[error("mmap of a BPF array failed: {0}")]
    Mapping(#[source] io::Error),
    /// The verifier or a capability check refused the program.
    #[error("bpf(BPF_PROG_LOAD) failed: {source}{}", shown(log))]
    Program {
        /// The kernel's error.
        #[source]
        source: io::Error,
        /// The verifier's last line; empty without one.
        log: String,
    },
    /// The offsets of kernel structures are not known.
    #[error(transparent)]
    Offsets(#[from] BtfError),
    /// The program could not be assembled.
    #[error("the filter does not fit the jumps of eBPF")]
    Assembly,
    /// A filter could not be attached to its socket.
    #[error("setsockopt(SO_ATTACH_BPF) failed: {0}")]
    Attach(#[source] io::Error),
}

impl FilterError {
    /// Returns whether a capability is missing.
    #[must_use]
    pub(crate) fn is_permission(&self) -> bool {
        match self {
            Self::Map(source) | Self::Program { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}

fn shown(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" ({log})") }
}

/// The loaded filter of one CPU.
#[derive(Debug)]
pub(crate) struct Filter {
    program: OwnedFd,
    map: Arc<OwnedFd>,
    layout: Layout,
}

impl Filter {
    fn load(layout: Layout, source: CgroupSource, map: OwnedFd) -> Result<Self, FilterError> {
        let program = assemble(layout, source, map.as_raw_fd()).ok_or(FilterError::Assembly)?;
        let license = match source {
            CgroupSource::Helper => LICENSE,
            CgroupSource::Offsets(_) => LICENSE_OF_READS,
        };
        let program = load_program(&program, license)
            .map_err(|(source, log)| FilterError::Program { source, log })?;
        Ok(Self { program, map: Arc::new(map), layout })
    }

    /// Attaches the filter to a socket, which must not be registered yet, so that no message is missed.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn attach(&self, socket: &impl AsRawFd) -> io::Result<()> {
        attach(socket, self.program.as_fd())
    }

    /// Maps what the filter stores. Needs no capability.
    ///
    /// # Errors
    /// [`FilterError::Mapping`].
    pub(crate) fn slots(&self) -> Result<Slots, FilterError> {
        Slots::map(Arc::clone(&self.map), self.layout).map_err(FilterError::Mapping)
    }

    /// Maps the memory of the filter that an earlier run attached to a socket of the CPU. `None` if it is
    /// arranged in another way than that of this filter, which then has to replace the earlier one.
    ///
    /// # Errors
    /// [`FilterError::Mapping`].
    pub(crate) fn resume(&self, kept: KeptSlots) -> Result<Option<Slots>, FilterError> {
        if kept.layout != self.layout.id() {
            return Ok(None);
        }
        Slots::resume(kept.map, self.layout).map(Some).map_err(FilterError::Mapping)
    }
}

/// The loaded filters of all CPUs.
#[derive(Debug)]
pub(crate) struct FilterSet {
    method: Method,
    filters: BTreeMap<u32, Filter>,
    layout: Layout,
}

impl FilterSet {
    /// Loads a filter for each CPU, for sockets with a receive buffer of `receive_buffer` bytes.
    /// `v1_controller` names a controller that is mounted as cgroup v1, if one is.
    ///
    /// # Errors
    /// [`FilterError`]; nothing stays loaded.
    pub(crate) fn load(
        cpus: impl IntoIterator<Item = u32>,
        receive_buffer: usize,
        method: Method,
        v1_controller: Option<&str>,
    ) -> Result<Self, FilterError> {
        let layout = Layout::for_receive_buffer(receive_buffer);
        let source = match method {
            Method::Helper => CgroupSource::Helper,
            Method::Offsets => CgroupSource::Offsets(Offsets::read(v1_controller)?),
        };
        let load = |cpu| {
            let map = create_array(layout.elements(), ELEMENT_BYTES).map_err(FilterError::Map)?;
            Ok((cpu, Filter::load(layout, source, map)?))
        };
        let filters = cpus.into_iter().map(load).collect::<Result<_, FilterError>>()?;
        Ok(Self { method, filters, layout })
    }

    /// How the filters find a task's cgroup.
    #[must_use]
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    /// The filter of a CPU; `None` for one that was not online when the filters were loaded.
    #[must_use]
    pub(crate) fn of_cpu(&self, cpu: u32) -> Option<&Filter> {
        self.filters.get(&cpu)
    }

    /// The loaded programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.filters.values().map(|filter| filter.program.as_fd())
    }

    /// Memory that the filters share with the kernel, in bytes.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        self.layout.bytes() * self.filters.len()
    }
}
