//! Who calls, and how a network is kept from listening in.

mod principal;
pub mod tls;

pub use principal::{CertificateNames, Principal};
