//! Conversion of certificates and TLS counters.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use taskstats_proto::v1;

use super::convert::timestamp;
use crate::security::tls::{CertificateInfo, CertificateUse, Tls};

/// Returns the certificates in use.
pub(super) fn in_use(tls: &Tls) -> Vec<v1::Certificate> {
    tls.certificates().into_iter().filter_map(certificate).collect()
}

/// Returns the counters of TLS.
pub(super) fn counts(tls: &Tls) -> v1::Tls {
    let counts = tls.counts();
    v1::Tls {
        reloads: counts.reloads,
        failed_reloads: counts.failed_reloads,
        reload_error: counts.reload_error.unwrap_or_default(),
        handshakes: counts.handshakes,
        failed_handshakes: counts.failed_handshakes,
    }
}

fn certificate(facts: CertificateInfo) -> Option<v1::Certificate> {
    let usage = match facts.purpose {
        CertificateUse::Server => v1::CertificateUse::Server,
        CertificateUse::ClientCa => v1::CertificateUse::ClientCa,
        // The proto file has no field for it.
        CertificateUse::Intermediate => return None,
    };
    Some(v1::Certificate {
        r#use: usage.into(),
        subject: facts.subject,
        dns_names: facts.names.dns,
        uris: facts.names.uris,
        ip_addresses: facts.addresses.iter().map(ToString::to_string).collect(),
        not_before: Some(moment(facts.not_before)),
        not_after: Some(moment(facts.not_after)),
    })
}

fn moment(at: SystemTime) -> Timestamp {
    timestamp(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}
