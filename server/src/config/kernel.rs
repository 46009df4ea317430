//! The kernel to serve.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "sim")]
use crate::sim::{Spec, SpecError};

/// The value of `--kernel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KernelChoice {
    /// The kernel of this machine.
    #[default]
    Linux,
    /// A simulated kernel.
    #[cfg(feature = "sim")]
    Sim(Spec),
}

/// An error in the value of `--kernel`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KernelChoiceError {
    /// The value names no kernel.
    #[error("`{0}` is not a kernel; use linux, sim, or sim:KEY=VALUE,…")]
    Unknown(String),
    /// The program was built without the cargo feature `sim`.
    #[error(
        "this taskstatsd was built without the simulated kernel; use `linux`, or build taskstatsd \
         with its default features"
    )]
    #[cfg(not(feature = "sim"))]
    SimulationNotBuilt,
    /// The parameters of the simulated kernel cannot be used.
    #[cfg(feature = "sim")]
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl FromStr for KernelChoice {
    type Err = KernelChoiceError;

    fn from_str(text: &str) -> Result<Self, KernelChoiceError> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("linux", "") => Ok(Self::Linux),
            #[cfg(not(feature = "sim"))]
            ("sim", _) => Err(KernelChoiceError::SimulationNotBuilt),
            #[cfg(feature = "sim")]
            ("sim", spec) => Ok(Self::Sim(spec.parse()?)),
            _ => Err(KernelChoiceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for KernelChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linux => formatter.write_str("linux"),
            #[cfg(feature = "sim")]
            Self::Sim(spec) => write!(formatter, "sim:{spec}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_is_parsed() {
        assert_eq!("linux".parse(), Ok(KernelChoice::Linux));
    }

    #[cfg(feature = "sim")]
    #[test]
    fn a_simulated_kernel_is_parsed_and_printed() {
        assert_eq!("sim".parse(), Ok(KernelChoice::Sim(Spec::default())));
        let four = KernelChoice::Sim(Spec { cpus: 64, ..Spec::default() });
        assert_eq!("sim:cpus=64".parse(), Ok(four));
        assert_eq!(four.to_string().parse(), Ok(four));
    }

    #[cfg(not(feature = "sim"))]
    #[test]
    fn a_build_without_the_simulated_kernel_names_the_feature() {
        for text in ["sim", "sim:cpus=4"] {
            let error = text.parse::<KernelChoice>().unwrap_err();
            assert_eq!(error, KernelChoiceError::SimulationNotBuilt);
            assert!(error.to_string().contains("built without the simulated kernel"), "{error}");
        }
    }

    #[test]
    fn an_unknown_kernel_is_named_in_the_error() {
        for text in ["hurd", "", "linux:cpus=4", "simulated"] {
            let error = text.parse::<KernelChoice>().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
