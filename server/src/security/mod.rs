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
pub mod tls;

pub use address_key::AddressKey;
pub use caller::{Caller, Callers, Permit};
pub use limits::{LimitReached, Limits, MAX_HEALTH_CHECKS, MAX_OVERFLOW, Resource};
pub use pattern::{Pattern, PatternError, Transport};
pub use policy::{NO_MATCHING_CLIENT, Policy, Rule, RuleError};
pub use policy_lint::PolicyWarning;
pub use principal::{CertificateNames, Principal};
pub use rate::{Bucket, Rate};
pub use redaction::{Field, FieldError, Redaction};
pub use rejections::{Limit, RejectionCounters};
pub use role::{Role, RoleError, Roles};
