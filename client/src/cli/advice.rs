//! Errors of calls as sentences, with advice where there is any.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::tls::NEEDS_CA;
use crate::{Error, Target, TlsFailure};

const START: &str =
    "start it (taskstatsd, or systemctl start taskstatsd), or set its address with --target";
const STREAM_ENDED: &str = "the agent ended the stream";
/// The error of HTTP/2 for a connection whose first bytes are those of TLS.
const NO_FRAME: &str = "frame with invalid size";
const TRY_TLS: &str = "if the agent uses TLS at this port, connect with tls:// and --ca";
const NAME_A_CA: &str =
    "set the file of the CA that signed the agent's certificate with --ca or TASKSTATS_CA";
const NO_ACCESS: &str =
    "this user has no access to the socket; join its group, or run the command as root";

/// The precision of a retry delay in a message.
const NANOS_PER_MILLISECOND: u32 = 1_000_000;

/// Returns what happened and, where it is known, what to do.
pub(crate) fn message(error: &Error) -> String {
    let what = description(error);
    match advice(error, &what) {
        Some(advice) => format!("{what}; {advice}"),
        None => what,
    }
}

/// Returns why a stream ended or could not be opened, for a watch that tries again.
///
/// The advice is omitted, because waiting is what to do. The exception is that of a certificate,
/// which waiting alone does not renew.
pub(crate) fn stream_end(error: Option<&Error>) -> String {
    match error {
        None => STREAM_ENDED.to_owned(),
        Some(error) if error.tls_failure().is_some() => message(error),
        Some(error) => description(error),
    }
}

fn description(error: &Error) -> String {
    match error.root_cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn advice(error: &Error, description: &str) -> Option<String> {
    if let Some(failure) = error.tls_failure() {
        return Some(tls_advice(&failure).to_owned());
    }
    match error {
        Error::Unreachable { source, .. } if is_denied(source.as_ref()) => {
            Some(NO_ACCESS.to_owned())
        }
        Error::Unreachable { .. } => Some(START.to_owned()),
        Error::Tls { problem } if problem.ends_with(NEEDS_CA) => Some(NAME_A_CA.to_owned()),
        Error::Disconnected { target: Target::Tcp { .. }, .. }
            if description.ends_with(NO_FRAME) =>
        {
            Some(TRY_TLS.to_owned())
        }
        Error::InvalidArgument { field, description: right, .. } => {
            let is_new = !right.is_empty() && !description.contains(right.as_str());
            is_new.then(|| format!("{field}: {right}"))
        }
        Error::ResourceExhausted { retry_after: Some(delay), .. }
        | Error::Unavailable { retry_after: Some(delay), .. } => {
            Some(format!("retry in {:?}", round_up(*delay)))
        }
        _ => None,
    }
}

/// Rounds up to milliseconds: a client that retries too early is refused again.
fn round_up(delay: Duration) -> Duration {
    let part = Duration::from_nanos(u64::from(delay.subsec_nanos() % NANOS_PER_MILLISECOND));
    if part.is_zero() { delay } else { delay - part + Duration::from_millis(1) }
}

/// Returns which side refused the other, and what to change.
fn tls_advice(failure: &TlsFailure) -> &'static str {
    match failure {
        TlsFailure::UnknownAuthority => {
            "no CA in --ca signed the agent's certificate; add the CA that did"
        }
        TlsFailure::WrongName => {
            "the agent's certificate has other names; set one of them with --server-name"
        }
        TlsFailure::NotValidNow => {
            "the agent's certificate has expired or is not valid yet; renew it, or set the clock"
        }
        TlsFailure::NoServerCertificate => {
            "the agent's certificate is not one for servers: it is a CA's own (CA:TRUE), or of X.509 \
             version 1 (no extensions), or has another extendedKeyUsage; give the agent one that a CA \
             signed, with a subjectAltName and basicConstraints=CA:FALSE"
        }
        TlsFailure::CertificateRefused => "the agent's certificate is not trusted",
        TlsFailure::CertificateRequired => {
            "the agent requires a client certificate; set it with --cert and --key"
        }
        TlsFailure::RefusedByAgent => {
            "the agent refuses the client certificate of --cert; see the agent's log for the reason"
        }
        TlsFailure::NoCommonVersion => {
            "client and agent have no TLS version in common; see the agent's --tls-min-version"
        }
        TlsFailure::NotTls => {
            "the server does not use TLS; connect to a plaintext port with tcp://"
        }
    }
}

fn is_denied(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(kind: io::ErrorKind) -> Error {
        let target = "/run/a.sock".parse().unwrap();
        Error::Unreachable { target, source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn an_unreachable_agent_is_to_be_started() {
        assert_eq!(
            message(&unreachable(io::ErrorKind::NotFound)),
            "cannot reach taskstatsd at unix:///run/a.sock: entity not found; \
             start it (taskstatsd, or systemctl start taskstatsd), or set its address with --target"
        );
    }

    #[test]
    fn a_socket_without_access_is_not_a_missing_agent() {
        let message = message(&unreachable(io::ErrorKind::PermissionDenied));
        assert!(message.contains("permission denied; this user has no access"), "{message}");
    }

    #[test]
    fn the_description_of_a_field_is_not_repeated() {
        let error = |message: &str| Error::InvalidArgument {
            field: "cpumask".to_owned(),
            description: "\"x\" is no list".to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(message(&error("cpumask: \"x\" is no list")), "cpumask: \"x\" is no list");
        assert_eq!(message(&error("bad mask")), "bad mask; cpumask: \"x\" is no list");
    }

    #[test]
    fn a_retry_delay_is_rounded_up() {
        let error = Error::Unavailable {
            message: "draining".to_owned(),
            retry_after: Some(Duration::from_nanos(485_068_899)),
        };
        assert_eq!(message(&error), "draining; retry in 486ms");
        assert_eq!(round_up(Duration::from_secs(3)), Duration::from_secs(3));
    }

    #[test]
    fn a_watch_that_waits_gives_no_advice() {
        assert_eq!(stream_end(None), "the agent ended the stream");
        let error = unreachable(io::ErrorKind::NotFound);
        assert!(stream_end(Some(&error)).ends_with("entity not found"));
    }
}
