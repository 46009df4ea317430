//! What is odd about rules, given how callers come in.

use super::{NOBODY_COMES_IN, Pattern, Way};

/// A policy that the agent serves by, and that may not be what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyDoubt {
    /// All rules are about others than those who can connect.
    #[error("{NOBODY_COMES_IN}")]
    NobodyComesIn,
    /// One rule is, beside others that are not.
    #[error("--allow {0}=… is about nobody who can connect: {why}", why = why_void(.0))]
    Void(Pattern),
    /// Nobody who can connect has role node.
    #[error(
        "no rule of --allow gives role node to anybody who can connect, so health checks, probes, GetNode and reflection are refused; if they are wanted, add one, such as uid:0=node"
    )]
    NoNode,
}

/// What would have to be there for the rule to count.
fn why_void(pattern: &Pattern) -> &'static str {
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

impl PolicyDoubt {
    /// Those of rules, in which each has a principal and whether it gives role node.
    pub(super) fn of(rules: &[(&Pattern, bool)], ways: &[Way]) -> Vec<Self> {
        let counts = |pattern: &Pattern| ways.iter().any(|way| pattern.comes_by(*way));
        if !rules.iter().any(|(pattern, _)| counts(pattern)) {
            return vec![Self::NobodyComesIn];
        }
        let void = rules.iter().filter(|(pattern, _)| !counts(pattern));
        let mut doubts: Vec<_> = void.map(|(pattern, _)| Self::Void((*pattern).clone())).collect();
        doubts.dedup();
        if !rules.iter().any(|(pattern, gives_node)| *gives_node && counts(pattern)) {
            doubts.push(Self::NoNode);
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Policy;

    fn doubts(rules: &[&str], ways: &[Way]) -> Vec<String> {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Policy::new(rules).doubts(ways).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_counts_for_nobody_is_named() {
        for (rule, way, words) in [
            ("collector.example=watch", Way::Unix, "--allow collector.example=… is about nobody"),
            ("*.example=watch", Way::Unix, "--allow *.example=…"),
            ("spiffe://td/ns/*=watch", Way::Unix, "--allow spiffe://td/ns/*=…"),
            ("alice=query", Way::Unix, "a user of this node is uid:N"),
            ("anonymous=node", Way::Unix, "without --client-ca, and there is none"),
            ("anonymous=node", Way::Certificate, "without --client-ca, and there is none"),
            ("uid:7=node", Way::Certificate, "--allow uid:7=…"),
            ("gid:7=node", Way::Anonymous, "come by a unix:// listener"),
        ] {
            let good = match way {
                Way::Unix => "uid:0=node",
                Way::Certificate => "a.example=node",
                Way::Anonymous => "anonymous=node",
            };
            let said = doubts(&[good, rule, rule], &[way]);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(words), "{said:?}");
            assert_eq!(doubts(&[rule], &[way]), [NOBODY_COMES_IN], "{rule}");
        }
    }

    #[test]
    fn probes_that_are_refused_are_told_once() {
        let ways = [Way::Unix, Way::Certificate];
        let said = doubts(&["uid:7=query", "a.example=watch"], &ways);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("role node"), "{said:?}");
        // A role for nobody is none.
        let said = doubts(&["uid:7=query", "a.example=node"], &[Way::Unix]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(doubts(&["uid:7=query", "a.example=node"], &ways), [""; 0]);
        assert_eq!(doubts(&[], &ways), [""; 0]);
    }
}
