//! System calls, by seccomp (`seccomp(2)`).

use std::env::consts::ARCH;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads,
};

use super::MissingMeasure;
use super::syscalls::Rules;

/// The outcome of a call that is not listed. The agent continues, and logs what failed: if it were
/// killed, the exits of the node would be lost for a call that may be harmless.
const REFUSED: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);
/// The outcome of a call that the C library replaces by an older one.
const UNKNOWN: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u32);

/// Returns whether there is a list for this architecture.
pub(super) fn is_known() -> bool {
    TargetArch::try_from(ARCH).is_ok()
}

/// Puts a filter into force for all threads, which allows the listed calls.
pub(super) fn enforce(
    list: impl FnOnce() -> Result<Rules, BackendError>,
    missing: &mut Vec<MissingMeasure>,
) -> Result<(), seccompiler::Error> {
    let Ok(architecture) = TargetArch::try_from(ARCH) else {
        missing.push(MissingMeasure::NoSeccomp);
        return Ok(());
    };
    for program in programs(architecture, list()?)? {
        apply_filter_all_threads(&program)?;
    }
    Ok(())
}

/// Returns one filter for `clone3` alone, and then the list, which allows no further filter. The flags
/// of `clone3` are in memory, where no filter sees them; the C library falls back to `clone`, whose
/// flags are checked.
fn programs(architecture: TargetArch, list: Rules) -> Result<[BpfProgram; 2], BackendError> {
    let list = SeccompFilter::new(list, REFUSED, SeccompAction::Allow, architecture)?;
    let clone3 = [(libc::SYS_clone3, Vec::new())].into_iter().collect();
    let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, UNKNOWN, architecture)?;
    Ok([clone3.try_into()?, list.try_into()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::paths::Needs;
    use crate::sandbox::syscalls::{allowed, allowed_for_broker};

    /// The kernel's limit of instructions (`BPF_MAXINSNS`) is checked when a program is loaded, in
    /// privileged runs only; the compiler's own checks run here.
    #[test]
    fn the_filters_compile_for_each_architecture() {
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            let inotify_masks = [1, 2, 3, 4].into_iter().collect();
            let needs = Needs { inotify_masks, writes: true, notifies: true };
            for list in [allowed(&needs).unwrap(), allowed_for_broker().unwrap()] {
                let programs = programs(architecture, list).unwrap();
                assert!(programs.iter().all(|program| !program.is_empty()));
            }
        }
    }
}
