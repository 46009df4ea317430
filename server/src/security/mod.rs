//! Who calls, what they may do and see, and how much of it.

mod caller;
mod doubt;
mod limits;
mod pattern;
mod policy;
mod principal;
mod rate;
mod redaction;
mod refused;
mod role;
mod subscriber;
pub mod tls;

pub use caller::{Caller, Callers, Slot};
pub use doubt::PolicyDoubt;
pub use limits::{Full, Limits, MAX_OVERFLOW, Resource};
pub use pattern::{Pattern, PatternError, Way};
pub use policy::{NOBODY_COMES_IN, Policy, Rule, RuleError};
pub use principal::{CertificateNames, Principal};
pub use rate::{Bucket, Rate};
pub use redaction::{Field, FieldError, Redaction};
pub use refused::{Limit, Refused};
pub use role::{Role, RoleError, Roles};
pub use subscriber::Subscriber;
