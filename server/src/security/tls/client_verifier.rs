//! Verifies the certificates of clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError, OtherError,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::weak_rsa_bits;
use super::{PemFile, TlsError};

/// An RSA key that is too short, for which rustls reports a bad signature.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "its RSA key has {bits} bits, which is no longer safe; make a key with 2048 bits or more, or for ECDSA"
)]
pub(super) struct WeakClientKey {
    pub(super) bits: usize,
}

/// The verifier of rustls, after a check of the lengths of keys.
#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

/// Returns a verifier that accepts the certificates which the authorities signed, and no others.
pub(super) fn verifier(
    file: &PemFile,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |reason: String| TlsError::ClientCa { file: file.clone(), reason };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| refused(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(Verifier(verifier)))
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        // What is malformed is not accepted above.
        if let Ok(Some(bits)) = weak_rsa_bits(end_entity) {
            let reason = OtherError(Arc::new(WeakClientKey { bits }));
            return Err(RustlsError::InvalidCertificate(CertificateError::Other(reason)));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use rustls::crypto::ring;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::security::tls::{TlsFiles, describe_client_error};

    /// An ECDSA CA, valid until 2126.
    const CA: &str = "-----BEGIN CERTIFICATE-----
MIIBcDCCARegAwIBAgIUPMJ/1Ldpyvw3BJdhWmGooGDGPB4wCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI2MDIyMzEwWhgPMjEyNjExMDIwMjIzMTBa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExdH0YcVC
sWNdymcfxLCoUVR/E6BXYVFEEXe2Y3YsYxr/uqIyKNYnouVb8pr9PoI3F2W4MoST
NdHYPHagVyTyy6NTMFEwHQYDVR0OBBYEFHMYMN0elm9piDAWLPRCEvjMHY+kMB8G
A1UdIwQYMBaAFHMYMN0elm9piDAWLPRCEvjMHY+kMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDRwAwRAIgTi5kDhnzj837+B6XGendODDWxpRLwVUeq2znub4B
6cMCIHu9TPF8L6QZYs98QRQ7uNMiJ4Q/GHbJ8z3cz/tXRpOC
-----END CERTIFICATE-----";
    /// A client's certificate with an RSA key of 1,024 bits, signed by [`CA`].
    const WEAK: &str = "-----BEGIN CERTIFICATE-----
MIIB5jCCAYygAwIBAgIUa39Iy50fkd/LNordG8p66CjVaBUwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI2MDIyMzExWhgPMjEyNjExMDEwMjIzMTFa
MBExDzANBgNVBAMMBmNsaWVudDCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA
02/rU8LaHX9C01zeajQG9gSdGwc0tyHvNF8nOEucgQWxEt+qdC3gJDRkLhs587Sc
Xc3m6WDyLMUCtdMrq82Qm/Ue04x/21PlH2/MICcpCgfqw5InVZNVOBAGWvqDzy+T
t01kjQ/Wis9w8DVDSnLjeDEMrpWikqFYGVBlIImNm9ECAwEAAaN9MHswEwYDVR0l
BAwwCgYIKwYBBQUHAwIwGQYDVR0RBBIwEIIOY2xpZW50LmV4YW1wbGUwCQYDVR0T
BAIwADAdBgNVHQ4EFgQUu9u6zWd2Ly4Ck4MMF8tE3Ica+WMwHwYDVR0jBBgwFoAU
cxgw3R6Wb2mIMBYs9EIS+Mwdj6QwCgYIKoZIzj0EAwIDSAAwRQIgMl5COa5k8c35
OujJutsnD0pO4HprKyhDJolZkTabD0YCIQCHykmhII0BKl3O/jUl5xBxNvrixPv6
91hA2MS4eOKzUA==
-----END CERTIFICATE-----";

    fn certificate(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// Issue 11, row 8: the reported cause was another CA with the same name.
    #[test]
    fn a_short_rsa_key_is_named_as_the_cause() {
        let paths = ["crt", "key"].map(PathBuf::from);
        let [crt, key] = paths;
        let file = TlsFiles::new(crt.clone(), key, Some(crt)).client_ca.unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&file, vec![certificate(CA)], provider).unwrap();
        let in_2030 = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
        let verified = verifier.verify_client_cert(&certificate(WEAK), &[], in_2030);
        let Err(RustlsError::InvalidCertificate(error)) = verified else { panic!("{verified:?}") };
        let text = describe_client_error(&error);
        assert!(text.contains("its RSA key has 1024 bits"), "{text}");
    }
}
