//! Whether the certificates of TLS can be used, and for how long.

use std::time::{Duration, SystemTime};

use crate::doctor::{Finding, Fix, Patient};
use crate::security::tls::{CertificateFacts, TlsFiles, Validity, inspect};

const NAME: &str = "certificates";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn check(patient: &Patient) -> Finding {
    let tls = &patient.args.tls;
    let (Some(certificate), Some(key)) = (&tls.tls_cert, &tls.tls_key) else {
        return Finding::good(NAME, "none are given, so there is no TLS");
    };
    let files = TlsFiles::new(certificate.clone(), key.clone(), tls.client_ca.clone());
    match inspect(&files) {
        Ok(certificates) => judge(&certificates, SystemTime::now()),
        Err(error) => Finding::bad(NAME, error.to_string(), Fix::CERTIFICATES),
    }
}

/// The worst of them counts, and of those the first.
fn judge(certificates: &[CertificateFacts], now: SystemTime) -> Finding {
    let with = |wanted: fn(&Validity) -> bool| {
        certificates.iter().find(|facts| wanted(&facts.validity(now)))
    };
    if let Some(facts) = with(|validity| matches!(validity, Validity::Expired | Validity::NotYet)) {
        return Finding::bad(NAME, said(facts, now), Fix::CERTIFICATES);
    }
    if let Some(facts) = with(|validity| matches!(validity, Validity::EndsSoon(_))) {
        return Finding::warning(NAME, said(facts, now), Some(Fix::CERTIFICATES));
    }
    if let Some((facts, doubt)) = certificates.iter().find_map(|it| Some((it, it.doubt?))) {
        return Finding::warning(NAME, format!("{facts}: {doubt}"), Some(Fix::CERTIFICATES));
    }
    let first = certificates.iter().min_by_key(|facts| facts.not_after);
    Finding::good(NAME, first.map_or_else(String::new, |facts| said(facts, now)))
}

fn said(facts: &CertificateFacts, now: SystemTime) -> String {
    let date = humantime::format_rfc3339_seconds;
    match facts.validity(now) {
        Validity::NotYet => format!("{facts} is not valid before {}", date(facts.not_before)),
        Validity::Expired => format!("{facts} expired at {}", date(facts.not_after)),
        Validity::Valid | Validity::EndsSoon(_) => {
            let left = facts.not_after.duration_since(now).unwrap_or_default();
            let left = match left.as_secs() / DAY.as_secs() {
                0 => "within a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            format!("{facts} expires at {}, {left}", date(facts.not_after))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::doctor::Verdict;
    use crate::security::CertificateNames;
    use crate::security::tls::CertificateUse;

    fn valid_between(first: u32, last: u32, purpose: CertificateUse) -> CertificateFacts {
        CertificateFacts {
            purpose,
            subject: "CN=a".to_owned(),
            names: CertificateNames::default(),
            addresses: Vec::new(),
            not_before: UNIX_EPOCH + DAY * first,
            not_after: UNIX_EPOCH + DAY * last,
            doubt: None,
        }
    }

    #[test]
    fn the_worst_certificate_counts() {
        let certificates = [
            valid_between(0, 100, CertificateUse::Server),
            valid_between(10, 90, CertificateUse::ClientCa),
        ];
        for (day, verdict, finding) in [
            (5, Verdict::Bad, "the clients' CA `CN=a` is not valid before 1970-01-11T00:00:00Z"),
            (
                20,
                Verdict::Good,
                "the clients' CA `CN=a` expires at 1970-04-01T00:00:00Z, in 70 days",
            ),
            (
                84,
                Verdict::Warning,
                "the clients' CA `CN=a` expires at 1970-04-01T00:00:00Z, in 6 days",
            ),
            (
                89,
                Verdict::Warning,
                "the clients' CA `CN=a` expires at 1970-04-01T00:00:00Z, in 1 day",
            ),
            (95, Verdict::Bad, "the clients' CA `CN=a` expired at 1970-04-01T00:00:00Z"),
        ] {
            let judged = judge(&certificates, UNIX_EPOCH + DAY * day);
            assert_eq!((judged.verdict, judged.finding.as_str()), (verdict, finding), "day {day}");
        }
    }
}
