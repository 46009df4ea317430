//! What is odd about rules, given how callers come in.

use super::{NO_MATCHING_CLIENT, Pattern, Transport};

/// A policy that the agent serves by, and that may not be what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyWarning {
    /// All rules are about others than those who can connect.
    #[error("{NO_MATCHING_CLIENT}")]
    NoMatchingClient,
    /// One rule is, beside others that are not.
    #[error("--allow {0}=… is about nobody who can connect: {why}", why = why_unmatched(.0))]
    Unmatched(Pattern),
    /// Nobody who can connect has role node.
    #[error(
        "no rule of --allow gives role node to anybody who can connect, so health checks, probes, GetNode and reflection are refused; if they are wanted, add one, such as uid:0=node"
    )]
    NoNodeRole,
}

/// What would have to be there for the rule to count.
fn why_unmatched(pattern: &Pattern) -> &'static str {
    match pattern {
        Pattern::Uid(_) | Pattern::Gid(_) => {
            "processes of this node come by a unix:// listener, and there is none"
        }
        Pattern::Anonymous => {
            "whoever has no certificate comes by a tcp:// listener without --client-ca, and there is none"
        }
        // A user's name is easily put there.
        Pattern::Dns(name) if !name.contains('.') => {
            "it is taken for the DNS name of a certificate, whose holder comes by a tcp:// listener with \
             --client-ca, and there is none; a user of this node is uid:N"
        }
        Pattern::Dns(_) | Pattern::DnsBelow(_) | Pattern::Uri(_) | Pattern::UriBelow(_) => {
            "holders of certificates come by a tcp:// listener with --client-ca, and there is none"
        }
    }
}

impl PolicyWarning {
    /// Those of rules, in which each has a principal and whether it gives role node.
    pub(super) fn of(rules: &[(&Pattern, bool)], transports: &[Transport]) -> Vec<Self> {
        let counts =
            |pattern: &Pattern| transports.iter().any(|transport| pattern.uses(*transport));
        if !rules.iter().any(|(pattern, _)| counts(pattern)) {
            return vec![Self::NoMatchingClient];
        }
        let void = rules.iter().filter(|(pattern, _)| !counts(pattern));
        let mut warnings: Vec<_> =
            void.map(|(pattern, _)| Self::Unmatched((*pattern).clone())).collect();
        warnings.dedup();
        if !rules.iter().any(|(pattern, gives_node)| *gives_node && counts(pattern)) {
            warnings.push(Self::NoNodeRole);
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Policy;

    fn warnings(rules: &[&str], transports: &[Transport]) -> Vec<String> {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Policy::new(rules).warnings(transports).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_counts_for_nobody_is_named() {
        for (rule, transport, words) in [
            (
                "collector.example=watch",
                Transport::Unix,
                "--allow collector.example=… is about nobody",
            ),
            ("*.example=watch", Transport::Unix, "--allow *.example=…"),
            ("spiffe://td/ns/*=watch", Transport::Unix, "--allow spiffe://td/ns/*=…"),
            ("alice=query", Transport::Unix, "a user of this node is uid:N"),
            ("anonymous=node", Transport::Unix, "without --client-ca, and there is none"),
            ("anonymous=node", Transport::Certificate, "without --client-ca, and there is none"),
            ("uid:7=node", Transport::Certificate, "--allow uid:7=…"),
            ("gid:7=node", Transport::Anonymous, "come by a unix:// listener"),
        ] {
            let good = match transport {
                Transport::Unix => "uid:0=node",
                Transport::Certificate => "a.example=node",
                Transport::Anonymous => "anonymous=node",
            };
            let said = warnings(&[good, rule, rule], &[transport]);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(words), "{said:?}");
            assert_eq!(warnings(&[rule], &[transport]), [NO_MATCHING_CLIENT], "{rule}");
        }
    }

    #[test]
    fn probes_that_are_refused_are_told_once() {
        let transports = [Transport::Unix, Transport::Certificate];
        let said = warnings(&["uid:7=query", "a.example=watch"], &transports);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("role node"), "{said:?}");
        // A role for nobody is none.
        let said = warnings(&["uid:7=query", "a.example=node"], &[Transport::Unix]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(warnings(&["uid:7=query", "a.example=node"], &transports), [""; 0]);
        assert_eq!(warnings(&[], &transports), [""; 0]);
    }
}
