//! The flags of the sandbox.

use clap::Args;

use super::ConfigError;
use super::switch::Switch;
use crate::sandbox::UserSpec;

/// The flags of the sandbox.
#[derive(Clone, Debug, Args)]
pub(crate) struct SandboxArgs {
    /// User to run as when started as root: NAME, UID or UID:GID [default: taskstatsd if that user
    /// exists, or else 61000]
    #[arg(long, value_name = "USER", env = "TASKSTATSD_USER")]
    pub(crate) user: Option<UserSpec>,

    /// Disable the sandbox and keep running as root (debugging only)
    #[arg(long, env = "TASKSTATSD_NO_SANDBOX", value_parser = Switch)]
    pub(crate) no_sandbox: bool,
}

/// The privileges that the agent drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// None.
    Off,
    /// All that serving does not need; a process of root becomes this user, or a default one.
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
