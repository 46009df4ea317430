//! What the agent gives up.

use clap::Args;

use super::ConfigError;
use super::switch::Switch;
use crate::sandbox::UserSpec;

/// Flags on rights.
#[derive(Clone, Debug, Args)]
pub struct SandboxArgs {
    /// User to become when started as root: NAME, UID or UID:GID; by default taskstatsd if there is
    /// one, else 65534.
    #[arg(long, value_name = "USER", env = "TASKSTATSD_USER")]
    pub user: Option<UserSpec>,

    /// Give up no rights: stay root, with all files and system calls. For debugging.
    #[arg(long, env = "TASKSTATSD_NO_SANDBOX", value_parser = Switch)]
    pub no_sandbox: bool,
}

/// What the agent gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing.
    Off,
    /// All rights that serving does not take, and root for this user.
    On(Option<UserSpec>),
}

impl TryFrom<SandboxArgs> for Sandbox {
    type Error = ConfigError;

    fn try_from(args: SandboxArgs) -> Result<Self, ConfigError> {
        match (args.no_sandbox, args.user) {
            (true, Some(_)) => Err(ConfigError::UserWithoutSandbox),
            (true, None) => Ok(Self::Off),
            (false, user) => Ok(Self::On(user)),
        }
    }
}
