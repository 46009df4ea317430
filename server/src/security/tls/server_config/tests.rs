use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::security::tls::certificate::CertificateWarning;
use crate::security::tls::fixtures::{Chain, DAY, Directory};

fn refusal(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> String {
    inspect(&Directory::new(certificate, key).files()).unwrap_err().to_string()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// An operator reads which file is wrong, what it is, and the command that mends it.
#[test]
fn each_mistake_is_named_with_its_cure() {
    let Chain { root, intermediate, server, key } = Chain::valid();
    let chain = format!("{server}{intermediate}");
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap());
    let request = request.unwrap().pem().unwrap();
    let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let legacy = section("RSA PRIVATE KEY").replace("AAAA", "Proc-Type: 4,ENCRYPTED\n\nAAAA");
    let key_der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap().secret_der().to_vec();
    let utf16: Vec<u8> = "\u{feff}-----".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (certificate, key, expected) in [
        (chain.as_bytes(), section("ENCRYPTED PRIVATE KEY").as_bytes(), "has an encrypted key"),
        (chain.as_bytes(), legacy.as_bytes(), "openssl pkey -in FILE"),
        (format!("\u{feff}{chain}").as_bytes(), key.as_bytes(), "byte order mark"),
        (chain.as_bytes(), format!("\u{feff}{key}").as_bytes(), "sed -i"),
        (&utf16, key.as_bytes(), "iconv -f utf-16"),
        (&der(&server), key.as_bytes(), "openssl x509 -inform der"),
        (chain.as_bytes(), &key_der, "openssl pkey -inform der"),
        (b"\x30\x82\x0b\x0a\x02\x01\x03\x30", key.as_bytes(), "openssl pkcs12"),
        (key.as_bytes(), chain.as_bytes(), "exchange --tls-cert and --tls-key"),
        (chain.as_bytes(), chain.as_bytes(), "exchange --tls-cert and --tls-key"),
        (chain.as_bytes(), other_key.as_bytes(), "name the key that was made with it"),
        (format!("{intermediate}{server}").as_bytes(), key.as_bytes(), "which is number 2"),
        (format!("{root}{intermediate}{server}").as_bytes(), key.as_bytes(), "number 3"),
        (request.as_bytes(), key.as_bytes(), "have a CA sign it"),
        (section("TRUSTED CERTIFICATE").as_bytes(), key.as_bytes(), "trust settings of OpenSSL"),
        (chain.as_bytes(), section("OPENSSH PRIVATE KEY").as_bytes(), "ssh-keygen"),
        (chain.as_bytes(), section("PUBLIC KEY").as_bytes(), "a public key"),
        (b"", key.as_bytes(), "--tls-cert"),
        (chain.as_bytes(), b" \n", "is empty"),
    ] {
        let refusal = refusal(certificate, key);
        assert!(refusal.contains(expected), "expected `{expected}`: {refusal}");
    }
}

#[test]
fn a_chain_has_the_dates_of_each_certificate() {
    let chain = Chain::with_intermediate_until(SystemTime::now() - DAY);
    let inspection = inspect(&Directory::new(chain.certificates(), &chain.key).files()).unwrap();
    let now = SystemTime::now();
    let expired: Vec<_> =
        inspection.certificates.iter().filter(|it| it.validity(now) == Validity::Expired).collect();
    assert_eq!(expired.len(), 1, "{:?}", inspection.certificates);
    assert_eq!(expired[0].to_string(), "the intermediate certificate `CN=intermediate`");
}

#[test]
fn a_chain_that_does_not_hold_together_is_warned_about() {
    let chain = Chain::valid();
    let warning = |certificates: String| {
        let directory = Directory::new(certificates, &chain.key);
        inspect(&directory.files()).unwrap().certificates[0].warning
    };
    assert_eq!(warning(chain.certificates()), None);
    let broken = format!("{}{}", chain.server, chain.root);
    assert_eq!(warning(broken), Some(CertificateWarning::BrokenChain));
}

#[test]
fn the_mode_of_a_key_counts() {
    let chain = Chain::valid();
    let directory = Directory::new(chain.certificates(), &chain.key);
    for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(directory.path("tls.key"), Permissions::from_mode(mode)).unwrap();
        let inspection = inspect(&directory.files()).unwrap();
        assert_eq!(inspection.exposed_key.is_some(), is_exposed, "{mode:o}");
    }
    fs::set_permissions(directory.path("tls.key"), Permissions::from_mode(0o666)).unwrap();
    let refusal = inspect(&directory.files()).unwrap_err().to_string();
    assert!(refusal.contains("mode 0666"), "{refusal}");
}

/// A blocking open would hang this test.
#[test]
fn a_fifo_in_place_of_a_file_is_refused() {
    let chain = Chain::valid();
    let directory = Directory::new(chain.certificates(), &chain.key);
    fs::remove_file(directory.path("tls.key")).unwrap();
    mkfifo(&directory.path("tls.key"), Mode::S_IRWXU).unwrap();
    let refusal = inspect(&directory.files()).unwrap_err().to_string();
    assert!(refusal.contains("--tls-key") && refusal.contains("a FIFO"), "{refusal}");
}
