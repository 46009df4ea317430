//! Warns about rules that cannot have been meant so, given the listeners.

use super::{NO_MATCHING_CLIENT, Pattern, Transport};

/// A warning about a policy, which the agent applies all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyWarning {
    /// No rule matches a client that can connect.
    #[error("{NO_MATCHING_CLIENT}")]
    NoMatchingClient,
    /// This rule matches no client that can connect.
    #[error("--allow {0}=… matches no client that can connect: {why}", why = why_unmatched(.0))]
    Unmatched(Pattern),
    /// No client that can connect has role node.
    #[error(
        "no rule of --allow gives role node to a client that can connect, so health checks, probes, GetNode and reflection are refused; to allow them, add one, such as uid:0=node"
    )]
    NoNodeRole,
}

/// Returns which listener is missing for a rule.
fn why_unmatched(pattern: &Pattern) -> &'static str {
    match pattern {
        Pattern::Uid(_) | Pattern::Gid(_) => {
            "processes of this node connect through a unix:// listener, and there is none"
        }
        Pattern::Anonymous => {
            "clients without a certificate connect through a tcp:// listener without --client-ca, and there is none"
        }
        // A user's name is a common mistake.
        Pattern::Dns(name) if !name.contains('.') => {
            "it is the DNS name of a certificate, whose holder connects through a tcp:// listener with \
             --client-ca, and there is none; a user of this node is uid:N"
        }
        Pattern::Dns(_) | Pattern::DnsBelow(_) | Pattern::Uri(_) | Pattern::UriBelow(_) => {
            "clients with certificates connect through a tcp:// listener with --client-ca, and there is none"
        }
    }
}

impl PolicyWarning {
    /// Returns the warnings about rules, each given by its pattern and whether it gives role node.
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
    fn a_rule_that_matches_no_client_is_named() {
        for (rule, transport, words) in [
            (
                "collector.example=watch",
                Transport::Unix,
                "--allow collector.example=… matches no client",
            ),
            ("*.example=watch", Transport::Unix, "--allow *.example=…"),
            ("spiffe://td/ns/*=watch", Transport::Unix, "--allow spiffe://td/ns/*=…"),
            ("alice=query", Transport::Unix, "a user of this node is uid:N"),
            ("anonymous=node", Transport::Unix, "without --client-ca, and there is none"),
            ("anonymous=node", Transport::Certificate, "without --client-ca, and there is none"),
            ("uid:7=node", Transport::Certificate, "--allow uid:7=…"),
            ("gid:7=node", Transport::Anonymous, "connect through a unix:// listener"),
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
    fn refused_probes_are_warned_about_once() {
        let transports = [Transport::Unix, Transport::Certificate];
        let said = warnings(&["uid:7=query", "a.example=watch"], &transports);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("role node"), "{said:?}");
        // A rule that matches no client gives no role.
        let said = warnings(&["uid:7=query", "a.example=node"], &[Transport::Unix]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(warnings(&["uid:7=query", "a.example=node"], &transports), [""; 0]);
        assert_eq!(warnings(&[], &transports), [""; 0]);
    }
}
