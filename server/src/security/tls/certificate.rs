//! Reads what a certificate states: names, dates, and what it may be used for.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::nom;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use crate::security::CertificateNames;

/// A warning so long before the end leaves some days to renew a certificate by hand.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The last second of the year 9999, by which a certificate states that it has no end (RFC 5280, 4.1.2.5).
const NO_END: u64 = 253_402_300_799;

/// RSA keys with fewer bits are refused by TLS libraries, rustls among them (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateInfo {
    /// The use in TLS.
    pub(crate) purpose: CertificateUse,
    /// The subject, such as `CN=node7`.
    pub(crate) subject: String,
    /// The DNS names and URIs.
    pub(crate) names: CertificateNames,
    /// The IP addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// The time from which it is valid.
    pub(crate) not_before: SystemTime,
    /// The time until which it is valid.
    pub(crate) not_after: SystemTime,
    /// A reason for which peers may refuse it.
    pub(crate) warning: Option<CertificateWarning>,
}

/// A reason for which peers may refuse a certificate that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateWarning {
    /// The server's certificate is a CA's.
    #[error(
        "it is a CA's own certificate, which taskstatsctl and others refuse; use one that a CA has signed, with basicConstraints=CA:FALSE"
    )]
    Authority,
    /// The server's certificate has no names that clients verify.
    #[error(
        "it has no subjectAltName, without which no client can verify the agent's name; sign it with one, such as by openssl x509 -req -copy_extensions copyall"
    )]
    Nameless,
    /// The server's certificate is for another use.
    #[error("it is not for servers; sign it with extendedKeyUsage=serverAuth")]
    OtherPurpose,
    /// The next certificate of the file did not sign it.
    #[error(
        "the certificate after it in the file did not sign it, so clients may find no way to their CA; order the file so that each certificate is signed by the next"
    )]
    BrokenChain,
    /// A CA's key is too short.
    #[error(
        "its RSA key has {bits} bits, so every certificate that it signed is refused; make a CA with {MIN_RSA_BITS} bits or more"
    )]
    WeakKey {
        /// The length of the modulus.
        bits: usize,
    },
}

/// The use of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateUse {
    /// Clients verify the agent by it.
    Server,
    /// An intermediate, which links the server's certificate to its CA.
    Intermediate,
    /// Certificates of clients are signed by it.
    ClientCa,
}

/// The state of a certificate at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Valid for longer than a week.
    Valid,
    /// Valid for so long, which is a week at most.
    EndsSoon(Duration),
    /// Not valid any more.
    Expired,
    /// Not valid yet.
    NotYet,
}

impl CertificateInfo {
    /// Reads a certificate; `next` is the one after it in a chain.
    ///
    /// # Errors
    /// What is malformed.
    pub(super) fn read(
        der: &CertificateDer<'_>,
        next: Option<&CertificateDer<'_>>,
        purpose: CertificateUse,
    ) -> Result<Self, X509Error> {
        let certificate = parse(der)?;
        let validity = certificate.validity();
        let (names, addresses) = alternative_names(&certificate)?;
        let own = match purpose {
            CertificateUse::Server => server_warning(&certificate)?,
            CertificateUse::Intermediate => None,
            CertificateUse::ClientCa => weak_key(&certificate),
        };
        let warning = match (own, next) {
            (None, Some(next)) => chain_warning(&certificate, next)?,
            (own, _) => own,
        };
        Ok(Self {
            warning,
            purpose,
            subject: certificate.subject().to_string(),
            names,
            addresses,
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
        })
    }

    /// Returns whether it is valid at `now`.
    #[must_use]
    pub(crate) fn validity(&self, now: SystemTime) -> Validity {
        if now < self.not_before {
            return Validity::NotYet;
        }
        match self.not_after.duration_since(now) {
            Ok(left) if left > SOON => Validity::Valid,
            Ok(left) => Validity::EndsSoon(left),
            Err(_) => Validity::Expired,
        }
    }

    /// Returns when its validity changes after `now`; `None` if it does not any more.
    pub(super) fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let soon = self.not_after.checked_sub(SOON).unwrap_or(UNIX_EPOCH);
        [self.not_before, soon, self.not_after].into_iter().filter(|at| *at > now).min()
    }
}

impl fmt::Display for CertificateInfo {
    /// Names the certificate by its use and its subject.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = match self.purpose {
            CertificateUse::Server => "the server's certificate",
            CertificateUse::Intermediate => "the intermediate certificate",
            CertificateUse::ClientCa => "the clients' CA",
        };
        write!(formatter, "{purpose} `{}`", self.subject)
    }
}

/// Returns the names of a client's certificate: without names its subject, and without a subject its
/// issuer and serial number, which no other certificate has.
///
/// # Errors
/// What is malformed.
pub(crate) fn names(der: &CertificateDer<'_>) -> Result<CertificateNames, X509Error> {
    let certificate = parse(der)?;
    let (mut names, _) = alternative_names(&certificate)?;
    if names.dns.is_empty() && names.uris.is_empty() {
        names.subject = Some(subject(&certificate));
    }
    Ok(names)
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject().to_string();
    if !subject.is_empty() {
        return subject;
    }
    format!("number {} of {}", certificate.raw_serial_as_string(), certificate.issuer())
}

/// Returns the length of a certificate's RSA key if it is too short to be accepted.
///
/// # Errors
/// What is malformed.
pub(super) fn weak_rsa_bits(der: &CertificateDer<'_>) -> Result<Option<usize>, X509Error> {
    Ok(short_rsa_bits(&parse(der)?))
}

fn short_rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return None };
    Some(key.key_size()).filter(|bits| *bits < MIN_RSA_BITS)
}

fn weak_key(certificate: &X509Certificate<'_>) -> Option<CertificateWarning> {
    short_rsa_bits(certificate).map(|bits| CertificateWarning::WeakKey { bits })
}

/// Names are compared, and not signatures: a CA with the same name and another key is rare, and clients
/// name it.
fn chain_warning(
    certificate: &X509Certificate<'_>,
    next: &CertificateDer<'_>,
) -> Result<Option<CertificateWarning>, X509Error> {
    let next = parse(next)?;
    let is_signer = certificate.issuer().as_raw() == next.subject().as_raw();
    Ok((!is_signer).then_some(CertificateWarning::BrokenChain))
}

fn server_warning(
    certificate: &X509Certificate<'_>,
) -> Result<Option<CertificateWarning>, X509Error> {
    if certificate.is_ca() {
        return Ok(Some(CertificateWarning::Authority));
    }
    if certificate.subject_alternative_name()?.is_none() {
        return Ok(Some(CertificateWarning::Nameless));
    }
    let usage = certificate.extended_key_usage()?.map(|extension| extension.value);
    let is_other = usage.is_some_and(|usage| !usage.server_auth && !usage.any);
    Ok(is_other.then_some(CertificateWarning::OtherPurpose))
}

/// Formats a time by RFC 3339, in seconds.
pub(super) fn format_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, X509Error> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(error),
        Err(nom::Err::Incomplete(_)) => Err(X509Error::InvalidCertificate),
    }
}

fn alternative_names(
    certificate: &X509Certificate<'_>,
) -> Result<(CertificateNames, Vec<IpAddr>), X509Error> {
    let (mut names, mut addresses) = (CertificateNames::default(), Vec::new());
    let Some(extension) = certificate.subject_alternative_name()? else {
        return Ok((names, addresses));
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            // A malformed name may be one of those above, so it is not skipped.
            GeneralName::Invalid(_, _) => return Err(X509Error::InvalidExtensions),
            _ => {}
        }
    }
    Ok((names, addresses))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok();
    v4().or_else(v6)
}

/// Converts a time, bounded to the years 1970 to 9999.
fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds.min(NO_END))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn valid_for(days: u32) -> CertificateInfo {
        CertificateInfo {
            purpose: CertificateUse::Server,
            subject: "CN=a".to_owned(),
            names: CertificateNames::default(),
            addresses: Vec::new(),
            not_before: UNIX_EPOCH + DAY,
            not_after: UNIX_EPOCH + DAY + DAY * days,
            warning: None,
        }
    }

    #[test]
    fn validity_follows_the_dates() {
        let info = valid_for(30);
        let at = |day: u32| info.validity(UNIX_EPOCH + DAY * day);
        assert_eq!(at(0), Validity::NotYet);
        assert_eq!(at(1), Validity::Valid);
        assert_eq!(at(29), Validity::EndsSoon(DAY * 2));
        assert_eq!(at(32), Validity::Expired);
    }

    #[test]
    fn each_change_of_validity_is_predicted() {
        let info = valid_for(30);
        let mut now = UNIX_EPOCH;
        let mut changes = Vec::new();
        while let Some(next) = info.next_change(now) {
            changes.push(next.duration_since(UNIX_EPOCH).unwrap().as_secs() / DAY.as_secs());
            now = next;
        }
        assert_eq!(changes, [1, 24, 31]);
    }

    #[test]
    fn the_last_date_can_be_formatted() {
        let end = UNIX_EPOCH + Duration::from_secs(NO_END);
        assert_eq!(format_date(end), "9999-12-31T23:59:59Z");
    }
}
