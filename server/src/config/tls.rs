//! Settings of TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;
use crate::security::tls::{MinVersion, TlsFiles};

/// How long a handshake may take unless `--handshake-timeout` says otherwise: a slow link and a slow
/// client take a second together.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Less than a round trip around the world would refuse everyone far away.
const MIN_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(100);
/// More would only keep those waiting who do not mean it.
const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// TLS on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TlsArgs {
    /// Certificate chain for tcp:// listeners, in PEM; read again when it changes.
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM; read again when it changes.
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// CAs in PEM that sign clients' certificates, without which no client comes in by TCP; read again
    /// when it changes. Without it, TLS needs rules of --allow: anonymous=ROLE,... is everybody.
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,

    /// Oldest version of TLS that is spoken: 1.3 or 1.2 [default: 1.3].
    #[arg(long, value_name = "VERSION", env = "TASKSTATSD_TLS_MIN_VERSION")]
    pub tls_min_version: Option<MinVersion>,

    /// How long a TLS handshake may take [default: 10s].
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_HANDSHAKE_TIMEOUT",
        value_parser = humantime::parse_duration
    )]
    pub handshake_timeout: Option<Duration>,
}

/// TLS for tcp:// listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where the certificates are.
    pub files: TlsFiles,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

impl TlsArgs {
    /// The settings, unless nothing of TLS is given. Nothing that is given is left unused.
    pub(super) fn check(self, insecure: bool) -> Result<Option<TlsConfig>, ConfigError> {
        let (certificate, key) = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => return needs("--tls-cert", "--tls-key"),
            (None, Some(_)) => return needs("--tls-key", "--tls-cert"),
            (None, None) => {
                let alone = [
                    ("--client-ca", self.client_ca.is_some()),
                    ("--tls-min-version", self.tls_min_version.is_some()),
                    ("--handshake-timeout", self.handshake_timeout.is_some()),
                ];
                return match alone.into_iter().find(|(_, given)| *given) {
                    Some((flag, _)) => needs(flag, "--tls-cert"),
                    None => Ok(None),
                };
            }
        };
        if insecure {
            return Err(ConfigError::InsecureTls);
        }
        let handshake_timeout = self.handshake_timeout.unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT);
        check_timeout(handshake_timeout)?;
        Ok(Some(TlsConfig {
            files: TlsFiles::new(certificate, key, self.client_ca),
            min_version: self.tls_min_version.unwrap_or_default(),
            handshake_timeout,
        }))
    }
}

fn needs<T>(flag: &'static str, missing: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Incomplete { flag, missing })
}

fn check_timeout(timeout: Duration) -> Result<(), ConfigError> {
    if (MIN_HANDSHAKE_TIMEOUT..=MAX_HANDSHAKE_TIMEOUT).contains(&timeout) {
        return Ok(());
    }
    let shown = |duration| humantime::format_duration(duration).to_string();
    Err(ConfigError::OutOfRange {
        flag: "--handshake-timeout",
        value: shown(timeout),
        range: format!("{} to {}", shown(MIN_HANDSHAKE_TIMEOUT), shown(MAX_HANDSHAKE_TIMEOUT)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> TlsArgs {
        let path = |flag: &str| flags.contains(&flag).then(|| PathBuf::from("/x"));
        TlsArgs {
            tls_cert: path("--tls-cert"),
            tls_key: path("--tls-key"),
            client_ca: path("--client-ca"),
            tls_min_version: flags.contains(&"--tls-min-version").then(MinVersion::default),
            handshake_timeout: flags.contains(&"--handshake-timeout").then_some(Duration::ZERO),
        }
    }

    fn refusal(flags: &[&str], insecure: bool) -> String {
        args(flags).check(insecure).unwrap_err().to_string()
    }

    #[test]
    fn nothing_given_is_no_tls() {
        assert_eq!(args(&[]).check(false).unwrap(), None);
        assert_eq!(args(&[]).check(true).unwrap(), None);
    }

    #[test]
    fn a_flag_that_lacks_another_names_both() {
        for (flag, missing) in [
            ("--tls-cert", "--tls-key"),
            ("--tls-key", "--tls-cert"),
            ("--client-ca", "--tls-cert"),
            ("--tls-min-version", "--tls-cert"),
            ("--handshake-timeout", "--tls-cert"),
        ] {
            let said = refusal(&[flag], false);
            assert!(said.contains(flag) && said.contains(missing), "{said}");
        }
    }

    #[test]
    fn a_contradiction_names_both_flags() {
        let said = refusal(&["--tls-cert", "--tls-key"], true);
        assert!(said.contains("--insecure") && said.contains("--tls-cert"), "{said}");
    }

    #[test]
    fn a_handshake_has_some_time() {
        let said = refusal(&["--tls-cert", "--tls-key", "--handshake-timeout"], false);
        assert!(said.contains("100ms to 5m"), "{said}");
    }
}
