//! Who calls.

mod principal;

pub use principal::Principal;
