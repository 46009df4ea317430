//! Identities of callers, the roles that rules give them, and the limits of what they hold.

mod address_key;
mod caller;
mod limits;
mod pattern;
mod policy;
mod policy_lint;
mod principal;
mod rate;
mod redaction;
mod rejections;
mod role;
pub(crate) mod tls;

pub(crate) use address_key::AddressKey;
#[cfg(test)]
pub(crate) use caller::FRAME_BURST;
pub(crate) use caller::{Caller, Callers, Permit};
use limits::MAX_WITHOUT_ROLE;
pub(crate) use limits::{LimitReached, Limits, MAX_HEALTH_CHECKS, MAX_OVERFLOW, Resource};
pub(crate) use pattern::{Pattern, PatternError, Transport};
pub(crate) use policy::{NO_MATCHING_CLIENT, Policy, Rule};
pub(crate) use policy_lint::PolicyWarning;
pub(crate) use principal::{CertificateNames, Principal};
pub(crate) use rate::{Bucket, Rate};
pub(crate) use redaction::{Field, Redaction};
pub(crate) use rejections::{Limit, RejectionCounters};
pub(crate) use role::{Role, RoleError, Roles};
