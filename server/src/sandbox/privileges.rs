//! Changes the user, and drops capabilities.

use capctl::{Cap, CapSet, CapState, Secbits, ambient, bounding, prctl};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgid, getgroups, getuid, setgroups, setresgid, setresuid};

use super::{MissingMeasure, SandboxError, User};

/// Makes all permitted capabilities of this thread effective.
///
/// The image's file grants them as permitted only: an exec with effective ones fails where the container
/// has not all of them.
///
/// # Errors
/// The kernel's error of capget(2) or capset(2).
pub(crate) fn raise_capabilities() -> Result<(), SandboxError> {
    let held = held()?;
    if held.effective == held.permitted {
        return Ok(());
    }
    check("capset", CapState { effective: held.permitted, ..held }.set_current())
}

/// Becomes another user, keeps all capabilities, and returns whether the user changed.
///
/// `named` is set if an operator chose the user: that it cannot be changed is an error then. Otherwise a
/// process that is not root keeps its user.
pub(super) fn change_user(
    user: User,
    named: bool,
    missing: &mut Vec<MissingMeasure>,
) -> Result<bool, SandboxError> {
    if !changes_user(user, named) {
        return Ok(false);
    }
    let held = held()?;
    match become_user(user) {
        Ok(()) => {}
        // CAP_SETUID is missing, as in a container that dropped it; or the user namespace has no such user.
        Err((operation, Errno::EPERM | Errno::EINVAL)) if !named => {
            missing.push(MissingMeasure::StillRoot { operation });
            return Ok(false);
        }
        Err((operation, errno)) => return Err(system(operation, errno as i32)),
    }
    // The change cleared the effective set, and left the permitted one.
    check("capset", CapState { effective: held.permitted, ..held }.set_current())?;
    Ok(true)
}

/// Returns whether [`change_user`] would change the user.
pub(super) fn changes_user(user: User, named: bool) -> bool {
    let there = getuid().as_raw() == user.uid && getgid().as_raw() == user.gid && !has_groups();
    !there && (named || getuid().is_root())
}

/// Returns the capabilities that [`change_user`] needs and this process does not have.
pub(super) fn lacking() -> Result<Vec<Cap>, SandboxError> {
    let held = held()?;
    Ok([Cap::SETGID, Cap::SETUID].into_iter().filter(|cap| !held.effective.has(*cap)).collect())
}

/// Drops all capabilities but `kept`, and the means to regain others.
pub(super) fn drop_capabilities(
    kept: CapSet,
    missing: &mut Vec<MissingMeasure>,
) -> Result<(), SandboxError> {
    let held = held()?;
    if held.effective.has(Cap::SETPCAP) {
        // An exec could regain the capabilities of the bounding set.
        check("prctl(PR_CAPBSET_DROP)", bounding::clear())?;
        check("prctl(PR_SET_SECUREBITS)", prctl::set_securebits(secure_bits()))?;
    }
    let kept = kept & held.permitted;
    let least = CapState { effective: kept, permitted: kept, inheritable: CapSet::empty() };
    // A filter of the service manager may forbid the calls. What is left then is no privilege of this process,
    // but only what an exec would inherit.
    let mut attempt = |operation, outcome| match check(operation, outcome) {
        Err(_) if held.permitted == kept => {
            missing.push(MissingMeasure::Refused { operation });
            Ok(())
        }
        outcome => outcome,
    };
    attempt("capset", least.set_current())?;
    if ambient::is_supported() {
        attempt("prctl(PR_CAP_AMBIENT)", ambient::clear())?;
    }
    check("prctl(PR_SET_NO_NEW_PRIVS)", prctl::set_no_new_privs())?;
    // No core dump contains statistics, and no other process of the user can attach.
    check("prctl(PR_SET_DUMPABLE)", prctl::set_dumpable(false))
}

/// An exec as root gains no capabilities, and none can be made ambient.
fn secure_bits() -> Secbits {
    Secbits::NOROOT
        | Secbits::NOROOT_LOCKED
        | Secbits::KEEP_CAPS_LOCKED
        | Secbits::NO_CAP_AMBIENT_RAISE
        | Secbits::NO_CAP_AMBIENT_RAISE_LOCKED
}

fn has_groups() -> bool {
    getgroups().is_ok_and(|groups| groups.iter().any(|group| *group != getgid()))
}

fn become_user(user: User) -> Result<(), (&'static str, Errno)> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    prctl::set_keepcaps(true)
        .map_err(|error| ("prctl(PR_SET_KEEPCAPS)", Errno::from_raw(error.code())))?;
    setgroups(&[]).map_err(|errno| ("setgroups", errno))?;
    setresgid(gid, gid, gid).map_err(|errno| ("setresgid", errno))?;
    setresuid(uid, uid, uid).map_err(|errno| ("setresuid", errno))
}

fn held() -> Result<CapState, SandboxError> {
    CapState::get_current().map_err(|error| system("capget", error.code()))
}

fn check(operation: &'static str, outcome: capctl::Result<()>) -> Result<(), SandboxError> {
    outcome.map_err(|error| system(operation, error.code()))
}

fn system(operation: &'static str, errno: i32) -> SandboxError {
    SandboxError::System { operation, source: std::io::Error::from_raw_os_error(errno) }
}
