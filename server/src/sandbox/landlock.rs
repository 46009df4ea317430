//! Files and ports, by landlock (`landlock(7)`).

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::{Gap, Paths};

/// The newest version whose rules were tried. Older kernels enforce as many of them as they know.
const NEWEST: ABI = ABI::V7;

/// Rules that are ready to be put into force.
pub(super) struct Rules(RulesetCreated);

/// Rules that open `paths` and nothing else: no other file, no TCP port, no signal and no abstract
/// socket of other processes. To be made while the paths can be reached.
pub(super) fn prepare(paths: &Paths) -> Result<Rules, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let keep =
        read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        // No rule names a port: listeners are bound by now, and the agent calls nobody.
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(&paths.read, read))?
        .add_rules(path_beneath_rules(&paths.write, keep))?
        .add_rules(removal(paths))?;
    Ok(Rules(rules))
}

fn removal(paths: &Paths) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    path_beneath_rules(&paths.remove, AccessFs::RemoveFile)
}

impl Rules {
    /// Puts the rules into force for this thread and those that it will start. Returns the kernel's
    /// version of landlock, 0 without it.
    pub(super) fn enforce(self, gaps: &mut Vec<Gap>) -> Result<u32, RulesetError> {
        let status = self.0.restrict_self()?;
        let abi = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi.min(NEWEST) as u32,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        };
        match status.ruleset {
            RulesetStatus::FullyEnforced => {}
            RulesetStatus::PartiallyEnforced => gaps.push(Gap::OldLandlock { abi }),
            RulesetStatus::NotEnforced => gaps.push(Gap::NoLandlock),
        }
        Ok(abi)
    }
}

/// Restricts this thread for good, and returns the kernel's version.
pub(super) fn try_out() -> Result<u32, RulesetError> {
    prepare(&Paths::default())?.enforce(&mut Vec::new())
}
