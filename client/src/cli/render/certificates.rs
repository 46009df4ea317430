//! Certificates and TLS handshakes of an agent, for people.

use super::section::Section;
use super::style::Style;
use super::text::escaped;
use crate::GetNodeResponse;
use crate::proto::{Certificate, CertificateUse, Tls};

/// Returns a section for each certificate and one for the handshakes; none without TLS.
pub(crate) fn sections(node: &GetNodeResponse, style: &Style) -> Vec<Section> {
    let certificates = node.certificates.iter().map(|it| certificate(it, style));
    certificates.chain(node.tls.as_ref().map(handshakes)).collect()
}

fn certificate(certificate: &Certificate, style: &Style) -> Section {
    let title = match certificate.r#use() {
        CertificateUse::Server => "Certificate",
        CertificateUse::ClientCa => "CA of client certificates",
        CertificateUse::Unspecified => "Other certificate",
    };
    let names = [&certificate.dns_names, &certificate.uris, &certificate.ip_addresses];
    let names: Vec<String> =
        names.into_iter().flatten().map(|name| escaped(name).into_owned()).collect();
    let date = |time| style.time.date(time);
    Section::new(title)
        .row("subject", escaped(&certificate.subject))
        .optional("names", (!names.is_empty()).then(|| names.join(", ")))
        .optional("valid from", certificate.not_before.as_ref().map(date))
        .optional("valid until", certificate.not_after.as_ref().map(date))
}

fn handshakes(tls: &Tls) -> Section {
    let error = Some(&tls.reload_error).filter(|error| !error.is_empty());
    Section::new("TLS since start-up")
        .row("handshakes", tls.handshakes)
        .row("failed handshakes", tls.failed_handshakes)
        .row("reloads", tls.reloads)
        .row("failed reloads", tls.failed_reloads)
        .optional("last reload error", error.map(|error| escaped(error)))
}
