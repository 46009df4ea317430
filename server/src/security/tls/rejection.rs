//! Describes the errors of rustls about certificates, with what to do about them.

use rustls::{CertificateError, Error as RustlsError};

use super::client_verifier::WeakClientKey;

/// Errors of `rustls-webpki` that rustls has no variant for, by their text.
const AUTHORITY: &str = "CaUsedAsEndEntity";
const NO_AUTHORITY: &str = "EndEntityUsedAsCa";
const OLD_VERSION: &str = "UnsupportedCertVersion";

/// Describes why a client's certificate is refused.
#[must_use]
pub(crate) fn describe_client_error(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::UnknownIssuer => "no CA of --client-ca has signed it",
        CertificateError::BadSignature => {
            "its signature is not that of the CA in --client-ca which it names: another CA has the same name, or that CA has a key that is too short"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; renew it"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clocks"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for clients; sign it with extendedKeyUsage=clientAuth"
        }
        other => return of_any(other),
    };
    with_name(words, error)
}

/// Describes why a certificate and a key cannot be used together.
#[must_use]
pub(super) fn describe_pair_error(error: &RustlsError) -> String {
    match error {
        RustlsError::InconsistentKeys(_) => {
            "the key is not that of the certificate; name the key that was made with it".to_owned()
        }
        RustlsError::General(_) => {
            "the key is of a kind that cannot be used; use ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 to 8,192 bits"
                .to_owned()
        }
        RustlsError::InvalidCertificate(error) => of_any(error),
        other => other.to_string(),
    }
}

/// Describes an error that does not depend on the certificate's use.
fn of_any(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::BadEncoding => "it is malformed",
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not known here; sign it without"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed by an algorithm that is no longer safe, or not known here; use SHA-256 or later with ECDSA, Ed25519, or RSA of 2,048 bits or more"
        }
        CertificateError::Other(other) if other.0.is::<WeakClientKey>() => {
            return other.to_string();
        }
        CertificateError::Other(other) => match other.to_string().as_str() {
            AUTHORITY => {
                "it is a CA's own certificate, such as `openssl req -x509` makes; use one that a CA has signed, with basicConstraints=CA:FALSE"
            }
            NO_AUTHORITY => {
                "it was signed by a certificate that is no CA's; sign that one with basicConstraints=critical,CA:TRUE"
            }
            OLD_VERSION => {
                "it is of X.509 version 1, as `openssl x509 -req` makes without extensions; add -copy_extensions copyall, or -extfile with a subjectAltName"
            }
            unknown => return format!("it cannot be used ({unknown})"),
        },
        other => return format!("it cannot be used ({other})"),
    };
    with_name(words, error)
}

/// Adds the error's name, by which it can be searched for.
fn with_name(words: &str, error: &CertificateError) -> String {
    let name = match error {
        CertificateError::Other(other) => other.to_string(),
        named => format!("{named:?}"),
    };
    // The rest is context that the words describe.
    let name = name.split([' ', '(', '{']).next().unwrap_or_default();
    format!("{words} ({name})")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn the_description_comes_before_the_name() {
        let said = describe_client_error(&CertificateError::UnknownIssuer);
        assert_eq!(said, "no CA of --client-ca has signed it (UnknownIssuer)");
        let now = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let said =
            describe_client_error(&CertificateError::ExpiredContext { time: now, not_after: now });
        assert_eq!(said, "it has expired; renew it (ExpiredContext)");
    }

    #[test]
    fn errors_without_a_variant_are_described_too() {
        let other = |words: &str| {
            let cause = std::io::Error::other(words.to_owned());
            describe_client_error(&CertificateError::Other(OtherError(Arc::new(cause))))
        };
        for (name, words) in
            [(AUTHORITY, "CA:FALSE"), (NO_AUTHORITY, "CA:TRUE"), (OLD_VERSION, "-copy_extensions")]
        {
            let said = other(name);
            assert!(said.contains(words) && said.ends_with(&format!("({name})")), "{said}");
        }
        assert_eq!(other("Novelty"), "it cannot be used (Novelty)");
    }
}
