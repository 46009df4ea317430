//! Loading the filters that attribute exits, by the best method that works here.

use std::io;

use super::hierarchy::Hierarchies;
use crate::advice::{Cause, HasCause};
use crate::bpf::{FilterError, FilterSet, Method};
use crate::taskstats::Cpumask;

/// Reasons for which exits cannot be attributed by filters.
#[derive(Debug, thiserror::Error)]
pub enum AttributionError {
    /// The mounts cannot be read.
    #[error("reading /proc/self/mountinfo failed: {0}")]
    Mounts(#[source] io::Error),
    /// No hierarchy of cgroups is mounted.
    #[error("no hierarchy of cgroups is mounted")]
    NoHierarchy,
    /// The filters cannot be loaded.
    #[error("the kernel refused the socket filter: {0}")]
    Filter(#[from] FilterError),
    /// The hierarchies cannot be followed.
    #[error("cgroups cannot be followed: {0}")]
    Follower(#[source] io::Error),
}

impl HasCause for AttributionError {
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::NoHierarchy => Some(Cause::CgroupMount),
            Self::Filter(error) if error.is_permission() => Some(Cause::FilterCapability),
            Self::Filter(_) => Some(Cause::FilterKernel),
            Self::Mounts(_) | Self::Follower(_) => None,
        }
    }
}

/// Finds the hierarchies of cgroups.
///
/// # Errors
/// [`AttributionError::Mounts`] or [`AttributionError::NoHierarchy`].
pub(crate) fn find_hierarchies() -> Result<Hierarchies, AttributionError> {
    let hierarchies = Hierarchies::find().map_err(AttributionError::Mounts)?;
    if hierarchies.mounted.is_empty() {
        return Err(AttributionError::NoHierarchy);
    }
    Ok(hierarchies)
}

/// Loads a filter for each CPU, for sockets with a receive buffer of `receive_buffer` bytes.
///
/// Offsets see both versions of cgroups, so they are tried first where a hierarchy of cgroup v1 is
/// mounted; otherwise the helper, which needs less.
///
/// # Errors
/// [`AttributionError::Filter`] with the error of the first method; nothing stays loaded.
pub(crate) fn load_filters(
    cpus: &Cpumask,
    receive_buffer: usize,
    hierarchies: &Hierarchies,
) -> Result<FilterSet, AttributionError> {
    let controller = hierarchies.v1_controller;
    let methods = match controller {
        Some(_) => [Method::Offsets, Method::Helper],
        None => [Method::Helper, Method::Offsets],
    };
    let mut refusal = None;
    for method in methods {
        match FilterSet::load(cpus.iter(), receive_buffer, method, controller) {
            Ok(filters) => return Ok(filters),
            Err(error) => {
                tracing::debug!(?method, %error, "a socket filter was refused");
                refusal.get_or_insert(error);
            }
        }
    }
    Err(refusal.unwrap_or(FilterError::Assembly).into())
}
