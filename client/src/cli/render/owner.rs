//! The owner of a task as text: its container, pod or unit, else its cgroup.

use crate::proto::{Container, Pod, Systemd};
use crate::{Attribution, Workload};

/// Marks an owner that is inferred.
const UNCERTAIN: char = '?';

/// Digits of a container's id that are shown, as `docker ps` shows them.
const SHORT_ID: usize = 12;

/// Returns the owner, with a question mark where it is inferred.
///
/// A container in a pod is `NAMESPACE/POD/CONTAINER`, another one `RUNTIME:ID`. Outside of containers it
/// is the unit of systemd, else the path of the cgroup. A cgroup of an unknown path is `cgroup:ID`.
pub(crate) fn owner(
    workload: Option<&Workload>,
    cgroup_id: Option<u64>,
    attribution: Attribution,
) -> Option<String> {
    let mut text = match workload {
        Some(workload) => name(workload),
        None => format!("cgroup:{}", cgroup_id?),
    };
    if matches!(attribution, Attribution::Inferred | Attribution::Guess) {
        text.push(UNCERTAIN);
    }
    Some(text)
}

/// Returns the certainty of an owner; `None` without one.
pub(crate) fn certainty(attribution: Attribution) -> Option<&'static str> {
    match attribution {
        Attribution::Unspecified => None,
        Attribution::Exact => Some("exact"),
        Attribution::Observed => Some("observed"),
        Attribution::Inferred => Some("inferred"),
        Attribution::Guess => Some("guess"),
    }
}

fn name(workload: &Workload) -> String {
    match (&workload.pod, &workload.container, &workload.systemd) {
        (Some(pod), Some(container), _) => format!("{}/{}", in_pod(pod), in_container(container)),
        (Some(pod), None, _) => in_pod(pod),
        (None, Some(container), _) => outside_pod(container),
        (None, None, Some(systemd)) => unit(systemd),
        (None, None, None) if workload.cgroup.is_empty() => {
            format!("cgroup:{}", workload.cgroup_id)
        }
        (None, None, None) => workload.cgroup.clone(),
    }
}

fn in_pod(pod: &Pod) -> String {
    if pod.name.is_empty() {
        return format!("pod:{}", pod.uid);
    }
    format!("{}/{}", pod.namespace, pod.name)
}

fn in_container(container: &Container) -> &str {
    if container.name.is_empty() { short_id(container) } else { &container.name }
}

fn outside_pod(container: &Container) -> String {
    let runtime = if container.runtime.is_empty() { "container" } else { &container.runtime };
    format!("{runtime}:{}", short_id(container))
}

fn short_id(container: &Container) -> &str {
    container.id.get(..SHORT_ID).unwrap_or(&container.id)
}

fn unit(systemd: &Systemd) -> String {
    let names = [&systemd.user_unit, &systemd.unit, &systemd.slice];
    names.into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn container(name: &str, runtime: &str) -> Option<Container> {
        Some(Container { id: ID.to_owned(), runtime: runtime.to_owned(), name: name.to_owned() })
    }

    fn pod(namespace: &str, name: &str) -> Option<Pod> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Some(Pod { uid: "7f2a".to_owned(), namespace, name, ..Pod::default() })
    }

    fn systemd(unit: &str, slice: &str, user_unit: &str) -> Option<Systemd> {
        let [unit, slice, user_unit] = [unit, slice, user_unit].map(str::to_owned);
        Some(Systemd { unit, slice, user_unit })
    }

    #[test]
    fn an_owner_is_the_innermost_that_is_known() {
        let cgroup = "/a/b".to_owned();
        let of_pod = |pod, container| Workload { pod, container, ..Workload::default() };
        let of_unit = |systemd| Workload { systemd, ..Workload::default() };
        let cases = [
            (of_pod(pod("prod", "api-0"), container("web", "containerd")), "prod/api-0/web"),
            (of_pod(pod("", ""), container("", "containerd")), "pod:7f2a/0123456789ab"),
            (of_pod(pod("prod", "api-0"), None), "prod/api-0"),
            (of_pod(None, container("", "docker")), "docker:0123456789ab"),
            (of_pod(None, container("", "")), "container:0123456789ab"),
            (of_unit(systemd("nginx.service", "system.slice", "")), "nginx.service"),
            (of_unit(systemd("user@0.service", "user.slice", "a.scope")), "a.scope"),
            (of_unit(systemd("", "system.slice", "")), "system.slice"),
            (Workload { cgroup, ..Workload::default() }, "/a/b"),
            (Workload { cgroup_id: 7, ..Workload::default() }, "cgroup:7"),
        ];
        for (workload, expected) in cases {
            let text = owner(Some(&workload), Some(7), Attribution::Exact);
            assert_eq!(text.as_deref(), Some(expected));
        }
        assert_eq!(owner(None, Some(7), Attribution::Exact).as_deref(), Some("cgroup:7"));
        assert_eq!(owner(None, None, Attribution::Unspecified), None);
    }

    #[test]
    fn an_inferred_owner_has_a_question_mark() {
        let workload = Workload { cgroup: "/a".to_owned(), ..Workload::default() };
        let marked = |attribution| owner(Some(&workload), None, attribution).unwrap();
        assert_eq!(marked(Attribution::Exact), "/a");
        assert_eq!(marked(Attribution::Observed), "/a");
        assert_eq!(marked(Attribution::Inferred), "/a?");
        assert_eq!(marked(Attribution::Guess), "/a?");
    }
}
