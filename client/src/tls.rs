//! Certificates of a client.

use std::error::Error as StdError;
use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::Error;
use crate::target::Target;
use crate::tls_failure::OLD_VERSION;

/// The CAs that a client trusts, and its own certificate.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
}

/// The end of the message for missing CAs, by which the command line recognizes it.
pub(crate) const NEEDS_CA: &str = "needs a CA to verify the agent's certificate by";

/// The text of rustls for a key that belongs to another certificate.
const OTHER_KEY: &str = "KeyMismatch";

impl fmt::Debug for TlsSettings {
    /// Omits the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsSettings")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl TlsSettings {
    /// Adds the certificates to the endpoint of a TLS target.
    ///
    /// # Errors
    /// [`Error::Tls`] for certificates that cannot be used, or that a plaintext target would ignore.
    pub(crate) fn apply(&self, target: &Target, endpoint: Endpoint) -> Result<Endpoint, Error> {
        let Target::Tls { host, .. } = target else {
            return match self.first_setting() {
                None => Ok(endpoint),
                Some(what) => Err(problem(format!(
                    "{what} has no effect at {target}, which is not encrypted; use tls://HOST[:PORT]"
                ))),
            };
        };
        let Some(ca) = &self.ca else {
            return Err(problem(format!("{target} {NEEDS_CA}")));
        };
        check_pem("the CA", ca)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(self.server_name.as_deref().unwrap_or(host));
        if let Some((certificate, key)) = &self.identity {
            check_pem("the client certificate", certificate)?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|error| problem(unusable(&deepest(&error))))
    }

    fn first_setting(&self) -> Option<&'static str> {
        if self.ca.is_some() {
            Some("a CA")
        } else if self.identity.is_some() {
            Some("a client certificate")
        } else {
            self.server_name.is_some().then_some("a server name")
        }
    }
}

/// Returns the mistake in the client's own certificate, which rustls describes as a peer's.
fn unusable(cause: &str) -> String {
    if cause.contains(OLD_VERSION) {
        return format!(
            "the client certificate is of X.509 version 1, as `openssl x509 -req` makes without extensions; \
             sign it with -copy_extensions copyall, or -extfile with a subjectAltName ({OLD_VERSION})"
        );
    }
    if cause.contains(OTHER_KEY) {
        return format!(
            "the client's private key does not belong to its certificate ({OTHER_KEY})"
        );
    }
    cause.to_owned()
}

fn problem(problem: String) -> Error {
    Error::Tls { problem }
}

/// Refuses a text without certificates, which rustls would silently ignore.
fn check_pem(what: &str, pem: &[u8]) -> Result<(), Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(problem(format!("{what} has no certificate in PEM"))),
        Ok(_) => Ok(()),
        Err(error) => Err(problem(format!("{what} is not PEM: {error}"))),
    }
}

fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn applied(settings: &TlsSettings, target: &str) -> Result<(), String> {
        let target: Target = target.parse().unwrap();
        let endpoint = target.endpoint().unwrap();
        settings.apply(&target, endpoint).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_would_be_ignored_are_refused() {
        let ca = TlsSettings { ca: Some(NO_CERTIFICATE.to_vec()), ..TlsSettings::default() };
        let name = TlsSettings { server_name: Some("a".to_owned()), ..TlsSettings::default() };
        for target in ["/run/a.sock", "tcp://node7"] {
            assert!(applied(&ca, target).unwrap_err().contains("no effect"));
            assert!(applied(&name, target).unwrap_err().contains("no effect"));
            assert_eq!(applied(&TlsSettings::default(), target), Ok(()));
        }
    }

    #[test]
    fn a_tls_target_needs_a_ca() {
        let message = applied(&TlsSettings::default(), "tls://node7").unwrap_err();
        assert!(message.contains("needs a CA"), "{message}");
        let empty = TlsSettings { ca: Some(b"not PEM".to_vec()), ..TlsSettings::default() };
        let message = applied(&empty, "tls://node7").unwrap_err();
        assert!(message.contains("no certificate in PEM"), "{message}");
    }

    #[test]
    fn the_key_is_not_shown() {
        let identity = Some((Vec::new(), b"secret".to_vec()));
        let shown = format!("{:?}", TlsSettings { identity, ..TlsSettings::default() });
        assert_eq!(shown, "TlsSettings { ca: false, identity: true, server_name: None }");
    }
}
