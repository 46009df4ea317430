//! What is called.

use super::SMALL_REQUEST;
use crate::security::{Resource, Role};

/// A method, and what is to know of it beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// Its name, for people. Not the path, in which a caller may write what it likes.
    pub(super) name: &'static str,
    /// What a caller needs.
    pub(super) role: Role,
    pub(super) kind: Kind,
}

/// Which limits a method is subject to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of calls.
    Call,
    /// Those of calls until the stream begins, and those of watchers then.
    Watch,
    /// Those of other streams.
    Stream,
    /// A share, and no rate.
    Health,
}

const TASKSTATS: &str = "/taskstats.v1.TaskstatsService/";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";

impl Kind {
    /// What it is counted among until its answer has gone.
    pub(super) const fn resource(self) -> Resource {
        match self {
            Self::Call | Self::Watch => Resource::Call,
            Self::Stream => Resource::Stream,
            Self::Health => Resource::HealthCheck,
        }
    }

    /// Bytes of a request, where one of ours may have `allowed`.
    pub(super) fn longest_request(self, allowed: usize) -> usize {
        match self {
            Self::Call | Self::Watch => allowed,
            Self::Stream | Self::Health => allowed.min(SMALL_REQUEST),
        }
    }

    /// Whether the answer is one message, which can be taken as soon as it is there.
    pub(super) const fn has_send_timeout(self) -> bool {
        matches!(self, Self::Call | Self::Health)
    }
}

impl Method {
    pub(super) fn of(path: &str) -> Self {
        if let Some(method) = path.strip_prefix(TASKSTATS) {
            return match method {
                "GetPid" => call("GetPid", Role::Query),
                "GetTgid" => call("GetTgid", Role::Query),
                "BatchGet" => call("BatchGet", Role::Query),
                "WatchExits" => Self { kind: Kind::Watch, ..call("WatchExits", Role::Watch) },
                "GetNode" => call("GetNode", Role::Node),
                _ => call("an unknown method", Role::Node),
            };
        }
        if let Some(method) = path.strip_prefix(HEALTH) {
            return match method {
                "Check" => Self { kind: Kind::Health, ..call("Health/Check", Role::Node) },
                _ => stream("Health/Watch"),
            };
        }
        if path.starts_with(REFLECTION) {
            return stream("ServerReflectionInfo");
        }
        call("an unknown method", Role::Node)
    }
}

const fn call(name: &'static str, role: Role) -> Method {
    Method { name, role, kind: Kind::Call }
}

const fn stream(name: &'static str) -> Method {
    Method { name, role: Role::Node, kind: Kind::Stream }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};
    use taskstats_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    /// A method that is added to the contract needs a role.
    #[test]
    fn every_method_of_the_contract_has_its_role() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let services = files.iter().flat_map(|file| &file.service);
        let methods: Vec<&str> =
            services.flat_map(|service| &service.method).map(MethodDescriptorProto::name).collect();
        assert!(methods.len() >= 5, "{methods:?}");
        for name in methods {
            assert_eq!(Method::of(&format!("{TASKSTATS}{name}")).name, name);
        }
    }

    #[test]
    fn what_is_not_ours_belongs_to_the_node() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/taskstats.v1.TaskstatsService/GetPid/",
            "/x",
        ] {
            let method = Method::of(path);
            assert_eq!(method.role, Role::Node, "{path}");
            assert_eq!(method.kind == Kind::Health, path.ends_with("/Check"), "{path}");
        }
    }
}
