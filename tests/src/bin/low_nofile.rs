//! Starts another command that cannot raise its limit of open files.
//!
//! On a real system a security module would refuse it; here a seccomp filter does, which every
//! kernel has.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{RLIMIT_NOFILE, SYS_prlimit64};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let program = words.next().context("no program")?;
    let is_about_files = SeccompCondition::new(1, Dword, Eq, RLIMIT_NOFILE.into())?;
    let sets = SeccompCondition::new(2, Qword, Ne, 0)?;
    let rule = SeccompRule::new(vec![is_about_files, sets])?;
    let refusal = SeccompAction::Errno(u32::try_from(Errno::EPERM as i32)?);
    let filter = SeccompFilter::new(
        BTreeMap::from([(SYS_prlimit64, vec![rule])]),
        SeccompAction::Allow,
        refusal,
        env::consts::ARCH.try_into()?,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Err(Command::new(program).args(words).exec().into())
}
