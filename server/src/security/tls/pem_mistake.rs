//! Recognizes common mistakes in the files of certificates and keys.

use super::files::FileRole;

/// A UTF-8 byte order mark, which some editors write. Before `-----BEGIN` it hides the first section.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// Byte order marks of UTF-16, as PowerShell's redirection writes.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// The tag of a SEQUENCE, with which a certificate and a key in DER begin (X.690, 8.9).
const SEQUENCE: u8 = 0x30;
/// The tag and the length of an INTEGER of one byte.
const SMALL_INTEGER: [u8; 2] = [0x02, 0x01];
/// The version of a PFX (RFC 7292, 4).
const PFX_VERSION: u8 = 3;

/// A file that is not what its flag needs, with what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemMistake {
    /// No bytes.
    #[error("is empty; write a PEM file there")]
    Empty,
    /// A byte order mark at the beginning.
    #[error(
        "begins with a UTF-8 byte order mark, which hides its first section; save it without: sed -i '1s/^\\xef\\xbb\\xbf//' FILE"
    )]
    Utf8Mark,
    /// Text in UTF-16.
    #[error("is UTF-16 text; save it as ASCII: iconv -f utf-16 -t ascii FILE > NEW")]
    Utf16,
    /// A certificate in DER.
    #[error(
        "is a certificate in DER, not PEM; convert it: openssl x509 -inform der -in FILE -out NEW"
    )]
    DerCertificate,
    /// A key in DER.
    #[error("is a key in DER, not PEM; convert it: openssl pkey -inform der -in FILE -out NEW")]
    DerKey,
    /// A PKCS#12 container.
    #[error("is PKCS#12, not PEM; convert it: openssl pkcs12 -in FILE -nodes -out NEW")]
    Pkcs12,
    /// A key that needs a passphrase.
    #[error(
        "has an encrypted key, and the agent knows no passphrase; decrypt it: openssl pkey -in FILE -out NEW"
    )]
    EncryptedKey,
    /// A key in the format of OpenSSH.
    #[error(
        "has a key in the format of OpenSSH; convert a copy of it: ssh-keygen -p -m PKCS8 -f FILE"
    )]
    OpenSshKey,
    /// The public part of a key.
    #[error("has a public key and no private key; name the file of the private key")]
    PublicKey,
    /// A key in place of a certificate.
    #[error(
        "has a private key and no certificate; name the file of the certificate, or exchange --tls-cert and --tls-key"
    )]
    KeyForCertificate,
    /// A certificate in place of a key.
    #[error(
        "has a certificate and no private key; name the file of the key, or exchange --tls-cert and --tls-key"
    )]
    CertificateForKey,
    /// A request that no CA has signed.
    #[error(
        "has a signing request and no certificate; have a CA sign it, and name the file that this makes"
    )]
    Request,
    /// A certificate in a format of OpenSSL alone.
    #[error(
        "has a certificate with the trust settings of OpenSSL (TRUSTED CERTIFICATE); convert it: openssl x509 -in FILE -out NEW"
    )]
    TrustedCertificate,
}

impl PemMistake {
    /// Recognizes a file whose first section would be missed, or which is no text.
    pub(super) fn of_format(bytes: &[u8]) -> Option<Self> {
        if bytes.trim_ascii().is_empty() {
            return Some(Self::Empty);
        }
        if bytes.starts_with(UTF8_MARK) {
            return Some(Self::Utf8Mark);
        }
        if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
            return Some(Self::Utf16);
        }
        of_der(bytes)
    }

    /// Recognizes a file without the section that its role needs.
    pub(super) fn of_sections(bytes: &[u8], role: FileRole) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let has = |label: &str| labels(&text).any(|found| found == label);
        let has_key = labels(&text).any(|found| found.ends_with("PRIVATE KEY"));
        match role {
            FileRole::Key if is_encrypted(&text) => Some(Self::EncryptedKey),
            FileRole::Key if has("OPENSSH PRIVATE KEY") => Some(Self::OpenSshKey),
            FileRole::Key if has("CERTIFICATE") => Some(Self::CertificateForKey),
            FileRole::Key if has("PUBLIC KEY") => Some(Self::PublicKey),
            FileRole::Certificates if has("TRUSTED CERTIFICATE") => Some(Self::TrustedCertificate),
            FileRole::Certificates if has_key => Some(Self::KeyForCertificate),
            _ if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") => {
                Some(Self::Request)
            }
            _ => None,
        }
    }
}

/// The labels of the sections (RFC 7468, 3).
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}

/// Encrypted keys have a label of their own (RFC 5958), or else a header (RFC 1421, 4.6.1.1).
pub(super) fn is_encrypted(text: &str) -> bool {
    labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY")
        || text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
}

/// Tells DER by what follows the header of the outer SEQUENCE: of a certificate another SEQUENCE, of a
/// key and of PKCS#12 their version.
fn of_der(bytes: &[u8]) -> Option<PemMistake> {
    let (&SEQUENCE, rest) = bytes.split_first()? else { return None };
    let (&length, rest) = rest.split_first()?;
    // The long form has the number of further bytes in the lower bits (X.690, 8.1.3.5).
    let further = if length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
    let content = rest.get(further..)?;
    match content {
        [SEQUENCE, ..] => Some(PemMistake::DerCertificate),
        [tag, size, version, ..] if [*tag, *size] == SMALL_INTEGER => Some(match *version {
            PFX_VERSION => PemMistake::Pkcs12,
            _ => PemMistake::DerKey,
        }),
        _ => None,
    }
}
