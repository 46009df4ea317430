//! What a certificate says of itself.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::nom;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::security::CertificateNames;

/// Who renews certificates by hand needs some days.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The last second of the year 9999, with which RFC 5280 says that there is no end.
const NO_END: u64 = 253_402_300_799;

/// What a certificate in use says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// What it is used for.
    pub purpose: CertificateUse,
    /// Its subject, such as `CN=node7`.
    pub subject: String,
    /// Its DNS names and URIs.
    pub names: CertificateNames,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Why clients may refuse it, of the server's own.
    pub warning: Option<CertificateWarning>,
}

/// Why clients may refuse a server's certificate that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateWarning {
    /// It is a CA's.
    #[error(
        "it is a CA's own certificate, which taskstatsctl and others refuse; use one that a CA has signed, with basicConstraints=CA:FALSE"
    )]
    Authority,
    /// It has no names that clients look at.
    #[error(
        "it has no subjectAltName, without which no client knows the agent by it; sign it with one, such as by openssl x509 -req -copy_extensions copyall"
    )]
    Nameless,
    /// It is for something else.
    #[error("it is not for servers; sign it with extendedKeyUsage=serverAuth")]
    OtherPurpose,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// Clients know the agent by it.
    Server,
    /// Certificates of clients are signed by it.
    ClientCa,
}

/// Whether a certificate is valid at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is, for longer than a week.
    Valid,
    /// It is, for so long.
    EndsSoon(Duration),
    /// It was.
    Expired,
    /// It will be.
    NotYet,
}

impl CertificateInfo {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is malformed.
    pub(super) fn read(
        der: &CertificateDer<'_>,
        purpose: CertificateUse,
    ) -> Result<Self, X509Error> {
        let certificate = parse(der)?;
        let validity = certificate.validity();
        let (names, addresses) = alternative_names(&certificate)?;
        let warning = match purpose {
            CertificateUse::Server => warning(&certificate)?,
            CertificateUse::ClientCa => None,
        };
        Ok(Self {
            warning,
            purpose,
            subject: certificate.subject().to_string(),
            names,
            addresses,
            not_before: moment(validity.not_before),
            not_after: moment(validity.not_after),
        })
    }

    /// Whether it is valid at `now`.
    #[must_use]
    pub fn validity(&self, now: SystemTime) -> Validity {
        if now < self.not_before {
            return Validity::NotYet;
        }
        match self.not_after.duration_since(now) {
            Ok(left) if left > SOON => Validity::Valid,
            Ok(left) => Validity::EndsSoon(left),
            Err(_) => Validity::Expired,
        }
    }

    /// When its validity becomes another one than at `now`; `None` when that is over.
    pub(super) fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let soon = self.not_after.checked_sub(SOON).unwrap_or(UNIX_EPOCH);
        [self.not_before, soon, self.not_after].into_iter().filter(|at| *at > now).min()
    }
}

impl fmt::Display for CertificateInfo {
    /// Which one it is: what it is for, and of whom.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = match self.purpose {
            CertificateUse::Server => "the server's certificate",
            CertificateUse::ClientCa => "the clients' CA",
        };
        write!(formatter, "{purpose} `{}`", self.subject)
    }
}

/// The names of a client's certificate: of one without names its subject, and without that its issuer and
/// serial number, which no other one has.
///
/// # Errors
/// What is malformed.
pub fn names(der: &CertificateDer<'_>) -> Result<CertificateNames, X509Error> {
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

fn warning(certificate: &X509Certificate<'_>) -> Result<Option<CertificateWarning>, X509Error> {
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

/// A moment in RFC 3339, in seconds.
pub(super) fn format_date(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
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
            // A name that may be one of those above is not passed over.
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

/// Moments before 1970 are as good as 1970, and those after the year 9999 as its end.
fn moment(time: ASN1Time) -> SystemTime {
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
    fn validity_goes_through_its_stages() {
        let info = valid_for(30);
        let at = |day: u32| info.validity(UNIX_EPOCH + DAY * day);
        assert_eq!(at(0), Validity::NotYet);
        assert_eq!(at(1), Validity::Valid);
        assert_eq!(at(29), Validity::EndsSoon(DAY * 2));
        assert_eq!(at(32), Validity::Expired);
    }

    #[test]
    fn each_change_of_validity_is_foreseen() {
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
    fn the_last_moment_of_all_can_be_shown() {
        let end = UNIX_EPOCH + Duration::from_secs(NO_END);
        assert_eq!(format_date(end), "9999-12-31T23:59:59Z");
    }
}
