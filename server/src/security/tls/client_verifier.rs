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
