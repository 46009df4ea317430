//! The methods, and what the layers need to know about each.

use crate::security::{Resource, Role};

/// A method of any of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// The name for logs and errors. Never the path itself, which callers can fill with anything.
    pub(super) name: &'static str,
    /// The role that a caller needs.
    pub(super) role: Role,
    pub(super) kind: Kind,
}

/// The limits that apply to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The limits of calls.
    Call,
    /// The limits of calls until the stream begins, then those of watchers.
    Watch,
    /// The limits of streams other than those of watchers.
    Stream,
    /// A share of the calls, without a rate.
    Health,
}

/// The only method whose requests are a stream.
const REFLECTION_METHOD: &str = "ServerReflectionInfo";
const TASKSTATS: &str = "/taskstats.v1.TaskstatsService/";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";

impl Kind {
    /// Returns the resource that a call holds until its response is sent.
    pub(super) const fn resource(self) -> Resource {
        match self {
            Self::Call | Self::Watch => Resource::Call,
            Self::Stream => Resource::Stream,
            Self::Health => Resource::HealthCheck,
        }
    }

    /// Returns true if the response is a single message, which can be sent as soon as it is there.
    pub(super) const fn has_send_timeout(self) -> bool {
        matches!(self, Self::Call | Self::Health)
    }
}

impl Method {
    /// Returns the method with this path.
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
            return stream(REFLECTION_METHOD);
        }
        call("an unknown method", Role::Node)
    }

    /// Returns true if a call of the method can have more than one request message.
    pub(super) fn requests_are_stream(self) -> bool {
        self.name == REFLECTION_METHOD
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

    /// A method that is added to the proto file needs an entry here.
    #[test]
    fn every_method_of_the_service_has_a_role() {
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
    fn methods_of_other_services_need_role_node() {
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
