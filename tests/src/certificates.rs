//! Valid and invalid certificates for tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use nix::unistd::Uid;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

use crate::directory;
use crate::environments::USER;

/// The name that the tests know an agent by; it needs no resolver.
pub const AGENT: &str = "localhost";

/// Read by the group, and written by the owner.
const KEY_MODE: u32 = 0o640;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A CA.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    dns: Vec<String>,
    uris: Vec<String>,
    from: SystemTime,
    until: SystemTime,
    usage: ExtendedKeyUsagePurpose,
}

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// A directory with the files of an agent and its clients.
#[derive(Debug)]
pub struct Files {
    directory: TempDir,
}

impl Authority {
    /// Creates a CA.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Returns the CA's certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate.
    ///
    /// # Errors
    ///
    /// The names are no names.
    pub fn sign(&self, wanted: &Wanted) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = wanted.params()?.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

impl Wanted {
    /// For an agent, valid from yesterday for a month.
    #[must_use]
    pub fn for_agent() -> Self {
        Self::new(&[AGENT], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a client, valid from yesterday for a month.
    #[must_use]
    pub fn for_client(name: &str) -> Self {
        Self::new(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn new(names: &[&str], usage: ExtendedKeyUsagePurpose) -> Self {
        let now = SystemTime::now();
        Self {
            dns: names.iter().map(|&name| name.to_owned()).collect(),
            uris: Vec::new(),
            from: now - DAY,
            until: now + DAY * 30,
            usage,
        }
    }

    /// With one more DNS name.
    #[must_use]
    pub fn and_name(mut self, name: &str) -> Self {
        self.dns.push(name.to_owned());
        self
    }

    /// With these DNS names alone.
    #[must_use]
    pub fn named(mut self, names: &[&str]) -> Self {
        self.dns = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// With a URI.
    #[must_use]
    pub fn and_uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// Expired an hour ago.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.until = SystemTime::now() - DAY / 24;
        self
    }

    /// Valid from tomorrow on.
    #[must_use]
    pub fn not_yet_valid(mut self) -> Self {
        self.from = SystemTime::now() + DAY;
        self
    }

    /// Expires in so long.
    #[must_use]
    pub fn ending_in(mut self, time: Duration) -> Self {
        self.until = SystemTime::now() + time;
        self
    }

    /// Signs the certificate with its own key, which no CA vouches for.
    ///
    /// # Errors
    ///
    /// The names are no names.
    pub fn self_signed(&self) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = self.params()?.self_signed(&key)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(self.dns.clone())?;
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str())?));
        }
        let name = self.dns.first().or(self.uris.first());
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.not_before = self.from.into();
        params.not_after = self.until.into();
        params.extended_key_usages = vec![self.usage.clone()];
        Ok(params)
    }
}

impl Files {
    /// Creates an empty directory.
    ///
    /// # Errors
    ///
    /// No temporary directory can be created.
    pub fn new() -> Result<Self> {
        Ok(Self { directory: directory::open_to_all()? })
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the path of a file as an argument.
    #[must_use]
    pub fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file, and returns its path as an argument.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        fs::write(self.path(name), text)?;
        if name.ends_with(".key") {
            // Readable for the user that a root agent becomes, and for no other.
            let group = Uid::effective().is_root().then_some(USER);
            chown(self.path(name), None, group)?;
            fs::set_permissions(self.path(name), Permissions::from_mode(KEY_MODE))?;
        }
        Ok(self.argument(name))
    }

    /// Writes NAME.crt and NAME.key.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn write_pair(&self, name: &str, pair: &Pair) -> Result<()> {
        self.write(&format!("{name}.crt"), &pair.certificate)?;
        self.write(&format!("{name}.key"), &pair.key)?;
        Ok(())
    }
}
