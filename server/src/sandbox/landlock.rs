//! Restricts files and ports by landlock (`landlock(7)`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{MissingMeasure, Paths, SandboxError};

/// The newest version whose rules are tested. Older kernels enforce those that they know.
const NEWEST: ABI = ABI::V7;

/// Rules that are ready to be enforced.
pub(super) struct Rules(RulesetCreated);

/// Returns rules that allow `paths` and nothing else: no other file, no TCP port, no signal to other
/// processes and no abstract socket of theirs. The paths must be reachable when this is called.
pub(super) fn prepare(paths: &Paths) -> Result<Rules, SandboxError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let keep =
        read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let remove = AccessFs::RemoveFile.into();
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        // No rule names a port: listeners are bound by now, and the agent connects to none.
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    // Files that are replaced by rename are others each time, so a rule must name their directory. It
    // allows everything below; see [`MissingMeasure::WideDirectory`].
    let reread = AccessFs::ReadFile.into();
    let opened = [
        (&paths.read, read),
        (&paths.watch, reread),
        (&paths.write, keep),
        (&paths.remove, remove),
    ];
    let mut opened = opened.into_iter().flat_map(|(paths, access)| beneath(paths, access));
    let rules = opened.try_fold(rules, |rules, rule| Ok::<_, SandboxError>(rules.add_rule(rule?)?));
    rules.map(Rules)
}

/// Returns a rule for each path that exists.
fn beneath(
    paths: &BTreeSet<PathBuf>,
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, SandboxError>> {
    paths.iter().filter_map(move |path| {
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        match PathFd::new(path) {
            Ok(directory) => Some(Ok(PathBeneath::new(directory, access))),
            // A path that does not exist needs no rule.
            Err(PathFdError::OpenCall { source, .. }) if source.kind() == ErrorKind::NotFound => {
                None
            }
            Err(error) => Some(Err(SandboxError::Path(error))),
        }
    })
}

impl Rules {
    /// Enforces the rules for this thread and those that it will start. Returns the kernel's version of
    /// landlock, 0 without it.
    pub(super) fn enforce(self, missing: &mut Vec<MissingMeasure>) -> Result<u32, RulesetError> {
        let status = self.0.restrict_self()?;
        let abi = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi.min(NEWEST) as u32,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        };
        match status.ruleset {
            RulesetStatus::FullyEnforced => {}
            RulesetStatus::PartiallyEnforced => missing.push(MissingMeasure::OldLandlock { abi }),
            RulesetStatus::NotEnforced => missing.push(MissingMeasure::NoLandlock),
        }
        Ok(abi)
    }
}

/// Restricts this thread permanently, and returns the kernel's version.
pub(super) fn probe() -> Result<u32, SandboxError> {
    Ok(prepare(&Paths::default())?.enforce(&mut Vec::new())?)
}
