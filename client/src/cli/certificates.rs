//! Certificates and handshakes of an agent, for people.

use super::output::Look;
use super::stats::Section;
use super::text::escaped;
use crate::GetNodeResponse;
use crate::proto::{Certificate, CertificateUse, Tls};

/// One section for each certificate, and one for what became of them; none without TLS.
pub(super) fn sections(node: &GetNodeResponse, look: &Look) -> Vec<Section> {
    let certificates = node.certificates.iter().map(|it| certificate(it, look));
    certificates.chain(node.tls.as_ref().map(handshakes)).collect()
}

fn certificate(certificate: &Certificate, look: &Look) -> Section {
    let title = match certificate.r#use() {
        CertificateUse::Server => "Certificate",
        CertificateUse::ClientCa => "CA of clients",
        CertificateUse::Unspecified => "Other certificate",
    };
    let names = [&certificate.dns_names, &certificate.uris, &certificate.ip_addresses];
    let names: Vec<String> =
        names.into_iter().flatten().map(|name| escaped(name).into_owned()).collect();
    let date = |moment| look.clock.date(moment);
    Section::new(title)
        .row("subject", escaped(&certificate.subject))
        .known("names", (!names.is_empty()).then(|| names.join(", ")))
        .known("valid from", certificate.not_before.as_ref().map(date))
        .known("valid until", certificate.not_after.as_ref().map(date))
}

fn handshakes(tls: &Tls) -> Section {
    let error = Some(&tls.reload_error).filter(|error| !error.is_empty());
    Section::new("TLS since it started")
        .row("handshakes", tls.handshakes)
        .row("failed handshakes", tls.failed_handshakes)
        .row("reloads", tls.reloads)
        .row("failed reloads", tls.failed_reloads)
        .known("files are not used", error.map(|error| escaped(error)))
}
