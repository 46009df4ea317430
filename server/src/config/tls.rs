//! The flags of TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;
use super::range::check_range;
use crate::security::tls::{MinVersion, TlsFiles};

/// The default of `--handshake-timeout`: a slow client on a slow link needs about a second.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A shorter timeout would reject clients that are a round trip around the world away.
const MIN_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(100);
/// A longer timeout would only keep idle clients connected.
const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The default of `--max-handshake-rate`: clients keep their connections, and hundreds behind one address can
/// reconnect within seconds.
const DEFAULT_HANDSHAKE_RATE: u32 = 200;
/// One handshake per microsecond, which no machine can do.
const MAX_HANDSHAKE_RATE: u32 = 1_000_000;

/// The flags of TLS.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Certificate chain of tcp:// listeners, in PEM; read again when the file changes
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM; read again when the file changes
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,

    /// CA certificates in PEM; a client must present a certificate that one of them signed. Read again
    /// when the file changes. Without it, TLS needs --allow anonymous=ROLE,..., which allows any client
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATSD_CLIENT_CA")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Oldest TLS version to accept: 1.2 or 1.3 [default: 1.3]
    #[arg(long, value_name = "VERSION", env = "TASKSTATSD_TLS_MIN_VERSION")]
    pub(crate) tls_min_version: Option<MinVersion>,

    /// Timeout of a TLS handshake [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_HANDSHAKE_TIMEOUT",
        value_parser = humantime::parse_duration
    )]
    pub(crate) handshake_timeout: Option<Duration>,

    /// Maximum TLS handshakes per second of a network address, and of a burst; 0 is no limit
    /// [default: 200]
    #[arg(long, value_name = "N", env = "TASKSTATSD_MAX_HANDSHAKE_RATE")]
    pub(crate) max_handshake_rate: Option<u32>,
}

/// TLS for tcp:// listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    /// The files of the certificates.
    pub(crate) files: TlsFiles,
    /// The oldest version that is accepted.
    pub(crate) min_version: MinVersion,
    /// The timeout of a handshake.
    pub(crate) handshake_timeout: Duration,
    /// Maximum handshakes a second of an address; 0 is no limit.
    pub(crate) handshake_rate: u32,
}

impl TlsArgs {
    /// Validates the flags; returns `None` if none is given. No given flag is ignored.
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
                    ("--max-handshake-rate", self.max_handshake_rate.is_some()),
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
        let range = MIN_HANDSHAKE_TIMEOUT..=MAX_HANDSHAKE_TIMEOUT;
        check_range("--handshake-timeout", handshake_timeout, range)?;
        let handshake_rate = self.max_handshake_rate.unwrap_or(DEFAULT_HANDSHAKE_RATE);
        check_range("--max-handshake-rate", handshake_rate, 0..=MAX_HANDSHAKE_RATE)?;
        Ok(Some(TlsConfig {
            files: TlsFiles::new(certificate, key, self.client_ca),
            min_version: self.tls_min_version.unwrap_or_default(),
            handshake_timeout,
            handshake_rate,
        }))
    }
}

fn needs<T>(flag: &'static str, missing: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Incomplete { flag, missing })
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
            max_handshake_rate: flags.contains(&"--max-handshake-rate").then_some(1),
        }
    }

    fn refusal(flags: &[&str], insecure: bool) -> String {
        args(flags).check(insecure).unwrap_err().to_string()
    }

    #[test]
    fn without_flags_there_is_no_tls() {
        assert_eq!(args(&[]).check(false).unwrap(), None);
        assert_eq!(args(&[]).check(true).unwrap(), None);
    }

    #[test]
    fn an_incomplete_set_of_flags_names_both() {
        for (flag, missing) in [
            ("--tls-cert", "--tls-key"),
            ("--tls-key", "--tls-cert"),
            ("--client-ca", "--tls-cert"),
            ("--tls-min-version", "--tls-cert"),
            ("--handshake-timeout", "--tls-cert"),
        ] {
            let message = refusal(&[flag], false);
            assert!(message.contains(flag) && message.contains(missing), "{message}");
        }
    }

    #[test]
    fn a_contradiction_names_both_flags() {
        let message = refusal(&["--tls-cert", "--tls-key"], true);
        assert!(message.contains("--insecure") && message.contains("--tls-cert"), "{message}");
    }

    #[test]
    fn a_handshake_timeout_has_a_minimum() {
        let message = refusal(&["--tls-cert", "--tls-key", "--handshake-timeout"], false);
        assert!(message.contains("100ms to 5m"), "{message}");
    }
}
