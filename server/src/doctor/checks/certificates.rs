//! Checks whether the certificates of TLS can be used, and for how long.

use std::time::{Duration, SystemTime};

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::security::tls::{CertificateInfo, Inspection, TlsFiles, Validity, inspect};

const NAME: &str = "certificates";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn check(context: &Context) -> Finding {
    let tls = &context.args.tls;
    let (Some(certificate), Some(key)) = (&tls.tls_cert, &tls.tls_key) else {
        return Finding::good(NAME, "none are configured, so there is no TLS");
    };
    let files = TlsFiles::new(certificate.clone(), key.clone(), tls.client_ca.clone());
    match inspect(&files) {
        Ok(inspection) => judge(&inspection, SystemTime::now()),
        Err(error) => Finding::bad(NAME, error.to_string(), Cause::Certificates),
    }
}

/// Reports the worst problem, and of equal ones the first.
fn judge(inspection: &Inspection, now: SystemTime) -> Finding {
    let certificates = &inspection.certificates;
    let with = |wanted: fn(&Validity) -> bool| {
        certificates.iter().find(|info| wanted(&info.validity(now)))
    };
    if let Some(info) = with(|validity| matches!(validity, Validity::Expired | Validity::NotYet)) {
        return Finding::bad(NAME, describe(info, now), Cause::Certificates);
    }
    if let Some(exposed) = &inspection.exposed_key {
        return Finding::warning(NAME, exposed.to_string(), Some(Cause::ExposedKey));
    }
    if let Some(info) = with(|validity| matches!(validity, Validity::EndsSoon(_))) {
        return Finding::warning(NAME, describe(info, now), Some(Cause::Certificates));
    }
    if let Some((info, warning)) = certificates.iter().find_map(|it| Some((it, it.warning?))) {
        return Finding::warning(NAME, format!("{info}: {warning}"), Some(Cause::Certificates));
    }
    let first = certificates.iter().min_by_key(|info| info.not_after);
    Finding::good(NAME, first.map_or_else(String::new, |info| describe(info, now)))
}

fn describe(info: &CertificateInfo, now: SystemTime) -> String {
    let date = humantime::format_rfc3339_seconds;
    match info.validity(now) {
        Validity::NotYet => format!("{info} is not valid before {}", date(info.not_before)),
        Validity::Expired => format!("{info} expired at {}", date(info.not_after)),
        Validity::Valid | Validity::EndsSoon(_) => {
            let left = info.not_after.duration_since(now).unwrap_or_default();
            let left = match left.as_secs() / DAY.as_secs() {
                0 => "within a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            format!("{info} expires at {}, {left}", date(info.not_after))
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

    fn valid_between(first: u32, last: u32, purpose: CertificateUse) -> CertificateInfo {
        CertificateInfo {
            purpose,
            subject: "CN=a".to_owned(),
            names: CertificateNames::default(),
            addresses: Vec::new(),
            not_before: UNIX_EPOCH + DAY * first,
            not_after: UNIX_EPOCH + DAY * last,
            warning: None,
        }
    }

    #[test]
    fn the_worst_certificate_counts() {
        let certificates = vec![
            valid_between(0, 100, CertificateUse::Server),
            valid_between(10, 90, CertificateUse::ClientCa),
        ];
        let inspection = Inspection { certificates, exposed_key: None };
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
            let judged = judge(&inspection, UNIX_EPOCH + DAY * day);
            assert_eq!((judged.verdict, judged.finding.as_str()), (verdict, finding), "day {day}");
        }
    }
}
