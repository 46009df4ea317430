//! Which kernel is served.

use std::fmt;
use std::str::FromStr;

use crate::taskstats::sim::{Spec, SpecError};

/// What `--kernel` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The one that runs this machine.
    #[default]
    Linux,
    /// An invented one.
    Sim(Spec),
}

/// A text that names no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelChoiceError {
    /// There is no such kernel.
    #[error("`{0}` is no kernel; use linux, sim, or sim:KEY=VALUE,…")]
    Unknown(String),
    /// The simulation cannot be like that.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl FromStr for KernelChoice {
    type Err = KernelChoiceError;

    fn from_str(text: &str) -> Result<Self, KernelChoiceError> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("linux", "") => Ok(Self::Linux),
            ("sim", spec) => Ok(Self::Sim(spec.parse()?)),
            _ => Err(KernelChoiceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for KernelChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linux => formatter.write_str("linux"),
            Self::Sim(spec) => write!(formatter, "sim:{spec}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named() {
        assert_eq!("linux".parse(), Ok(KernelChoice::Linux));
        assert_eq!("sim".parse(), Ok(KernelChoice::Sim(Spec::default())));
        let four = KernelChoice::Sim(Spec { cpus: 64, ..Spec::default() });
        assert_eq!("sim:cpus=64".parse(), Ok(four));
        assert_eq!(four.to_string().parse(), Ok(four));
    }

    #[test]
    fn what_names_none_is_refused_by_name() {
        for text in ["hurd", "", "linux:cpus=4", "sim:cpus=0", "simulated"] {
            let error = text.parse::<KernelChoice>().unwrap_err().to_string();
            assert!(error.contains(text) || error.contains("cpus=0"), "{error}");
        }
    }
}
