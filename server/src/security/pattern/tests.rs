use super::*;

fn certificate(dns: &[&str], uris: &[&str]) -> Principal {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Principal::Certificate(CertificateNames { dns: own(dns), uris: own(uris), subject: None })
}

fn named(name: &str) -> Principal {
    if name.contains("://") { certificate(&[], &[name]) } else { certificate(&[name], &[]) }
}

fn matches(pattern: &str, principal: &Principal) -> bool {
    pattern.parse::<Pattern>().unwrap().matches(principal)
}

#[test]
fn a_pattern_is_about_the_names_it_says_and_no_others() {
    for (pattern, name, expected) in [
        ("a.example", "a.example", true),
        ("a.example", "A.Example", true),
        ("A.example", "a.example", true),
        ("a.example", "b.a.example", false),
        ("a.example", "a.example.evil", false),
        ("*.a.example", "b.a.example", true),
        ("*.a.example", "B.A.EXAMPLE", true),
        ("*.a.example", "a.example", false),
        ("*.a.example", ".a.example", false),
        ("*.a.example", "c.b.a.example", false),
        ("*.a.example", "evila.example", false),
        ("*.a.example", "*.a.example", false),
        ("*.a.example", "ä.a.example", false),
        ("spiffe://td/x", "spiffe://td/x", true),
        ("spiffe://td/x", "spiffe://td/X", false),
        ("spiffe://td/x", "spiffe://td/x/y", false),
        ("spiffe://td/ns/*", "spiffe://td/ns/m", true),
        ("spiffe://td/ns/*", "spiffe://td/ns/m/sa/c", true),
        ("spiffe://td/ns/*", "spiffe://td/ns", false),
        ("spiffe://td/ns/*", "spiffe://td/ns/", false),
        ("spiffe://td/ns/*", "spiffe://td/nsx", false),
        ("spiffe://td/ns/*", "spiffe://td/ns/../root", false),
        ("spiffe://td/ns/*", "spiffe://td/ns/m//x", false),
        ("spiffe://td/ns/*", "spiffe://td/ns/%2e%2e/root", false),
        ("spiffe://td/*", "spiffe://td.evil/x", false),
    ] {
        assert_eq!(matches(pattern, &named(name)), expected, "{pattern} and {name}");
    }
}

/// A DNS name is never taken for a URI, nor a number for a name.
#[test]
fn kinds_of_principals_do_not_mix() {
    let local = Principal::Local { uid: 7, gid: 8 };
    let anonymous = Principal::Anonymous("127.0.0.1:1".parse().unwrap());
    let nobody = certificate(&[], &[]);
    let tricky = certificate(&["anonymous", "uid:7"], &["uid:7"]);
    for (pattern, of_local, of_anonymous) in [
        ("uid:7", true, false),
        ("uid:8", false, false),
        ("gid:8", true, false),
        ("gid:7", false, false),
        ("anonymous", false, true),
        ("*.example", false, false),
        ("spiffe://td/*", false, false),
    ] {
        assert_eq!(matches(pattern, &local), of_local, "{pattern}");
        assert_eq!(matches(pattern, &anonymous), of_anonymous, "{pattern}");
        assert!(!matches(pattern, &nobody), "{pattern}");
        assert!(!matches(pattern, &tricky), "{pattern}");
    }
}

/// Issue 11, row 8: such a name could be understood differently by another reader.
#[test]
fn a_uri_with_control_characters_or_blanks_does_not_match() {
    let matches = |uri: &str| {
        let uris = vec![uri.to_owned()];
        let names = CertificateNames { uris, ..CertificateNames::default() };
        "spiffe://td/*".parse::<Pattern>().unwrap().matches(&Principal::Certificate(names))
    };
    assert!(matches("spiffe://td/a"));
    for end in ["a\0", "a\tb", "a b", "a\n", "a\u{7f}", "\u{e9}"] {
        assert!(!matches(&format!("spiffe://td/{end}")), "{end:?}");
    }
}

#[test]
fn an_ambiguous_pattern_is_refused() {
    for text in ["*", "*.", "a*.example", "a.*.example", "*.*.example", "*.a.*", "*a.example"] {
        let refused = text.parse::<Pattern>();
        assert!(refused.is_err(), "{text}: {refused:?}");
    }
    for text in ["spiffe://td/*/x", "spiffe://td/a*", "spiffe://*/x", "*://td/x"] {
        assert_eq!(text.parse::<Pattern>(), Err(PatternError::Wildcard(text.to_owned())));
    }
    for text in [
        "spiffe://*",
        "",
        " ",
        "a b",
        "a..b",
        ".a",
        "a.",
        "10.0.0.1",
        "://x",
        "spiffe:///x",
        "x://a/../b",
        "x://a//b",
        "x://a/%41",
        "user:1",
        "a/b",
        "x://a/",
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(PatternError::Name(text.to_owned())), "{text}");
    }
    for text in ["uid:", "uid:root", "uid:-1", "uid:+1", "gid:4294967296", "uid:*"] {
        assert_eq!(text.parse::<Pattern>(), Err(PatternError::Number(text.to_owned())), "{text}");
    }
}

/// Such a text would be a DNS name that no certificate has.
#[test]
fn anonymous_is_no_dns_name() {
    for text in ["ANONYMOUS", "Anonymous"] {
        let refused = text.parse::<Pattern>();
        assert_eq!(refused, Err(PatternError::Anonymous(text.to_owned())));
    }
}

#[test]
fn a_pattern_prints_as_it_is_written() {
    for text in
        ["uid:7", "gid:8", "anonymous", "a.example", "*.example", "spiffe://td/x", "spiffe://td/*"]
    {
        assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
    }
}
