//! Containers, pods and units from the path of a cgroup, as runtimes and service managers write it.
//!
//! A task that may create cgroups below its own can name them like those of another owner. So an owner
//! counts only where its manager creates cgroups: at the root, below slices of the system manager, or,
//! for a Kubernetes node that runs inside a container (kind, k3d), right below that container. Below a
//! pod's container, and below a user's service manager, no pod is recognized.

/// A container runtime, by the names of its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Runtime {
    /// containerd, through the CRI or a client such as `ctr`.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker Engine, or cri-dockerd.
    Docker,
    /// podman.
    Podman,
    /// nerdctl with the systemd driver.
    Nerdctl,
}

impl Runtime {
    /// Its name in lower case, as in the URI scheme of a container id of Kubernetes.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
        }
    }
}

/// A quality-of-service class of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some requests or limits.
    Burstable,
    /// No requests and no limits.
    BestEffort,
}

impl Qos {
    /// Its name, as in the status of a pod.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The class of a part of a path between `kubepods` and the pod.
    fn from_part(part: &str) -> Option<Self> {
        match part {
            "burstable" => Some(Self::Burstable),
            "besteffort" => Some(Self::BestEffort),
            _ => None,
        }
    }
}

/// A container of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContainerPath {
    /// Its id, in full.
    pub(crate) id: String,
    /// Its runtime, where the path names it.
    pub(crate) runtime: Option<Runtime>,
}

/// A pod of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PodPath {
    /// Its uid. That of a static pod is a hash without hyphens.
    pub(crate) uid: String,
    /// Its class.
    pub(crate) qos: Qos,
}

/// The units of systemd in a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct UnitPath {
    /// Service or scope of the system manager.
    pub(crate) unit: Option<String>,
    /// Slice of the system manager.
    pub(crate) slice: Option<String>,
    /// Service or scope of a user's manager.
    pub(crate) user_unit: Option<String>,
}

/// The owners in a path. Each is absent if the path does not name one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owners {
    /// The container.
    pub(crate) container: Option<ContainerPath>,
    /// The pod.
    pub(crate) pod: Option<PodPath>,
    /// The units.
    pub(crate) units: Option<UnitPath>,
}

/// Hexadecimal digits of the id that runtimes generate.
const ID_DIGITS: usize = 64;
/// The first part of the cgroups of pods.
const KUBEPODS: &str = "kubepods";

/// Finds the owners in a path, which begins with `/`.
#[must_use]
pub(crate) fn owners_of(path: &str) -> Owners {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let outer = of_parts(&parts);
    let runs_a_node = outer.pod.is_none() && outer.container.is_some();
    let inner = runs_a_node.then(|| node_inside(&parts)).flatten().map(of_parts);
    match inner {
        Some(Owners { container, pod: Some(pod), .. }) => {
            Owners { container, pod: Some(pod), units: outer.units }
        }
        _ => outer,
    }
}

/// The parts below a container, if a Kubernetes node runs in it.
fn node_inside<'a>(parts: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let container = parts.iter().position(|part| names_container(part))?;
    let inside = &parts[container + 1..];
    let first = inside.first()?;
    let slice = |name: &str| first.strip_suffix(".slice") == Some(name);
    let is_node = ["kubelet", KUBEPODS].iter().any(|name| first == name || slice(name));
    is_node.then_some(inside)
}

fn names_container(part: &str) -> bool {
    is_id(part) || container_scope(part).is_some()
}

/// Finds the owners in the parts of a path whose first one is at the root.
fn of_parts(parts: &[&str]) -> Owners {
    let slices = parts.iter().take_while(|part| is_slice(part)).count();
    let (slices, rest) = parts.split_at(slices);
    if slices.is_empty() {
        return of_plain_parts(rest);
    }
    let pod = slices.last().and_then(|slice| pod_of_slice(slice));
    let unit = rest.first().copied().filter(|part| is_unit(part));
    let container = unit
        .and_then(container_scope)
        .map(|(runtime, id)| ContainerPath { id: id.to_owned(), runtime: Some(runtime) });
    let user_unit = unit.filter(|unit| is_user_manager(unit)).and_then(|_| user_unit(&rest[1..]));
    let container = container.or_else(|| user_container(user_unit.as_deref()?));
    let units = UnitPath {
        unit: unit.map(unescape),
        slice: slices.last().map(|slice| unescape(slice)),
        user_unit,
    };
    Owners { container, pod, units: Some(units) }
}

/// Paths of the cgroupfs driver, and `init.scope`.
fn of_plain_parts(parts: &[&str]) -> Owners {
    match parts {
        ["kubelet", KUBEPODS, rest @ ..] | [KUBEPODS, rest @ ..] => of_kubepods(rest),
        ["docker", id, ..] if is_id(id) => of_container(id, Some(Runtime::Docker)),
        ["libpod_parent", part, ..] => match container_part(part) {
            Some((Some(Runtime::Podman), id)) => of_container(id, Some(Runtime::Podman)),
            _ => Owners::default(),
        },
        // containerd's clients use the namespace, such as `default` or `k8s.io`, and the id.
        ["default" | "k8s.io" | "moby", id, ..] => of_container(id, Some(Runtime::Containerd)),
        [unit, ..] if is_unit(unit) => {
            let units = UnitPath { unit: Some(unescape(unit)), ..UnitPath::default() };
            Owners { units: Some(units), ..Owners::default() }
        }
        _ => Owners::default(),
    }
}

fn of_container(id: &str, runtime: Option<Runtime>) -> Owners {
    let container = ContainerPath { id: id.to_owned(), runtime };
    Owners { container: Some(container), ..Owners::default() }
}

/// The parts behind `kubepods` of the cgroupfs driver: a class, a pod, a container.
fn of_kubepods(parts: &[&str]) -> Owners {
    let (qos, parts) = match parts {
        [class, rest @ ..] if let Some(qos) = Qos::from_part(class) => (qos, rest),
        parts => (Qos::Guaranteed, parts),
    };
    let Some((pod, rest)) = parts.split_first() else { return Owners::default() };
    let Some(uid) = pod.strip_prefix("pod").filter(|uid| is_uid(uid)) else {
        return Owners::default();
    };
    let container = rest
        .first()
        .and_then(|part| container_part(part))
        .map(|(runtime, id)| ContainerPath { id: id.to_owned(), runtime });
    Owners { container, pod: Some(PodPath { uid: uid.to_owned(), qos }), units: None }
}

/// The pod of a slice such as `kubepods-burstable-pod1234_5678.slice`, with or without a prefix.
fn pod_of_slice(slice: &str) -> Option<PodPath> {
    let name = slice.strip_suffix(".slice")?;
    let name = name.strip_prefix("kubelet-").unwrap_or(name).strip_prefix(KUBEPODS)?;
    let (before, uid) = name.rsplit_once("-pod")?;
    let qos = match before {
        "" => Qos::Guaranteed,
        class => Qos::from_part(class.strip_prefix('-')?)?,
    };
    let uid = uid.replace('_', "-");
    is_uid(&uid).then_some(PodPath { uid, qos })
}

/// The container of a directory of the cgroupfs driver: an id, with CRI-O's or podman's prefix.
fn container_part(part: &str) -> Option<(Option<Runtime>, &str)> {
    if is_id(part) {
        return Some((None, part));
    }
    let (prefix, id) = part.rsplit_once('-')?;
    let runtime = runtime_of_prefix(prefix)?;
    is_id(id).then_some((Some(runtime), id))
}

/// The container of a scope such as `cri-containerd-<id>.scope`.
fn container_scope(part: &str) -> Option<(Runtime, &str)> {
    match container_part(part.strip_suffix(".scope")?)? {
        (Some(runtime), id) => Some((runtime, id)),
        (None, _) => None,
    }
}

/// `crio-conmon` and `libpod-conmon` are monitors of a container, outside of it.
fn runtime_of_prefix(prefix: &str) -> Option<Runtime> {
    match prefix {
        "cri-containerd" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::Crio),
        "docker" => Some(Runtime::Docker),
        "libpod" => Some(Runtime::Podman),
        "nerdctl" => Some(Runtime::Nerdctl),
        _ => None,
    }
}

/// A container of a user without privileges: only podman and docker run so.
fn user_container(user_unit: &str) -> Option<ContainerPath> {
    let (runtime, id) = container_scope(user_unit)?;
    matches!(runtime, Runtime::Podman | Runtime::Docker)
        .then(|| ContainerPath { id: id.to_owned(), runtime: Some(runtime) })
}

/// The first service or scope below a user's manager.
fn user_unit(parts: &[&str]) -> Option<String> {
    parts
        .iter()
        .find(|part| !is_slice(part))
        .filter(|part| is_unit(part))
        .map(|part| unescape(part))
}

fn is_user_manager(unit: &str) -> bool {
    unit.starts_with("user@") && unit.ends_with(".service")
}

fn is_slice(part: &str) -> bool {
    part.ends_with(".slice") && part.len() > ".slice".len()
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|suffix| part.strip_suffix(suffix).is_some_and(|name| !name.is_empty()))
}

/// systemd puts `_` before a name that the kernel could mistake for a file of its own
/// (`cg_escape` in `src/basic/cgroup-util.c`).
fn unescape(part: &str) -> String {
    part.strip_prefix('_').unwrap_or(part).to_owned()
}

fn is_id(part: &str) -> bool {
    part.len() == ID_DIGITS && part.bytes().all(is_hex)
}

/// Digits and hyphens: a UUID, or the hash of a static pod.
fn is_uid(uid: &str) -> bool {
    let hyphens = uid.bytes().filter(|byte| *byte == b'-').count();
    let digits = uid.bytes().filter(|byte| is_hex(*byte)).count();
    digits == 32 && digits + hyphens == uid.len() && matches!(hyphens, 0 | 4)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests;
