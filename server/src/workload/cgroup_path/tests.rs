//! Paths as runtimes write them.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "6f5f4d8e-1c2b-4a3d-9e8f-0a1b2c3d4e5f";
const OTHER_UID: &str = "00000000-1111-2222-3333-444444444444";
const STATIC_UID: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn container(runtime: impl Into<Option<Runtime>>, id: &str) -> Option<ContainerPath> {
    Some(ContainerPath { id: id.to_owned(), runtime: runtime.into() })
}

fn pod(uid: &str, qos: Qos) -> Option<PodPath> {
    Some(PodPath { uid: uid.to_owned(), qos })
}

fn filled(path: &str) -> String {
    let with_hyphens = [("UID", UID), ("OTHERUID", OTHER_UID), ("STATIC", STATIC_UID)];
    let mut path = path.replace("OTHERID", OTHER);
    for (name, uid) in with_hyphens {
        path = path.replace(&format!("<{name}>"), uid);
        path = path.replace(&format!("<{name}_>"), &uid.replace('-', "_"));
    }
    path.replace("<ID>", ID)
}

#[test]
fn pods_are_found_in_the_paths_of_each_runtime_and_driver() {
    use Qos::{BestEffort, Burstable, Guaranteed};
    use Runtime::{Containerd, Crio, Docker};
    let rows: [(&str, Option<ContainerPath>, Option<PodPath>); 17] = [
        // containerd and cri-dockerd, cgroupfs driver, cgroup v1 and v2.
        ("/kubepods/pod<UID>/<ID>", container(None, ID), pod(UID, Guaranteed)),
        ("/kubepods/burstable/pod<UID>/<ID>", container(None, ID), pod(UID, Burstable)),
        ("/kubepods/besteffort/pod<UID>/<ID>", container(None, ID), pod(UID, BestEffort)),
        ("/kubepods/besteffort/pod<UID>", None, pod(UID, BestEffort)),
        ("/kubepods/burstable/pod<STATIC>/<ID>", container(None, ID), pod(STATIC_UID, Burstable)),
        ("/kubepods/burstable/pod<UID>/crio-<ID>", container(Crio, ID), pod(UID, Burstable)),
        // The systemd driver.
        (
            "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            container(Containerd, ID),
            pod(UID, Guaranteed),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            container(Containerd, ID),
            pod(UID, Burstable),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<UID_>.slice/docker-<ID>.scope",
            container(Docker, ID),
            pod(UID, BestEffort),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/crio-<ID>.scope",
            container(Crio, ID),
            pod(UID, Burstable),
        ),
        // crun puts the processes of a container one level below its scope.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/crio-<ID>.scope/container",
            container(Crio, ID),
            pod(UID, Burstable),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/crio-conmon-<ID>.scope",
            None,
            pod(UID, Burstable),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<STATIC>.slice/cri-containerd-<ID>.scope",
            container(Containerd, ID),
            pod(STATIC_UID, Burstable),
        ),
        // A node of kind, seen from inside of it.
        ("/kubelet/kubepods/burstable/pod<UID>/<ID>", container(None, ID), pod(UID, Burstable)),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            container(Containerd, ID),
            pod(UID, Burstable),
        ),
        // The same node, seen from its host.
        (
            "/docker/OTHERID/kubelet/kubepods/pod<UID>/<ID>",
            container(None, ID),
            pod(UID, Guaranteed),
        ),
        (
            "/system.slice/docker-OTHERID.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            container(Containerd, ID),
            pod(UID, Guaranteed),
        ),
    ];
    for (path, container, pod) in rows {
        let owners = owners_of(&filled(path));
        assert_eq!((owners.container, owners.pod), (container, pod), "{path}");
    }
}

#[test]
fn containers_are_found_outside_of_kubernetes() {
    use Runtime::{Containerd, Docker, Nerdctl, Podman};
    let user = "/user.slice/user-1000.slice/user@1000.service/user.slice";
    let rows = [
        ("/docker/<ID>".to_owned(), container(Docker, ID)),
        ("/docker/<ID>/nested".to_owned(), container(Docker, ID)),
        ("/system.slice/docker-<ID>.scope".to_owned(), container(Docker, ID)),
        ("/default/<ID>".to_owned(), container(Containerd, ID)),
        ("/default/redis".to_owned(), container(Containerd, "redis")),
        ("/k8s.io/<ID>".to_owned(), container(Containerd, ID)),
        ("/system.slice/nerdctl-<ID>.scope".to_owned(), container(Nerdctl, ID)),
        ("/machine.slice/libpod-<ID>.scope".to_owned(), container(Podman, ID)),
        ("/machine.slice/libpod-<ID>.scope/container".to_owned(), container(Podman, ID)),
        ("/machine.slice/libpod-conmon-<ID>.scope".to_owned(), None),
        ("/libpod_parent/libpod-<ID>".to_owned(), container(Podman, ID)),
        (
            "/machine.slice/machine-libpod_pod_OTHERID.slice/libpod-<ID>.scope/container"
                .to_owned(),
            container(Podman, ID),
        ),
        (format!("{user}/libpod-<ID>.scope/container"), container(Podman, ID)),
        (format!("{user}/docker-<ID>.scope"), container(Docker, ID)),
        ("/docker/short".to_owned(), None),
    ];
    for (path, container) in rows {
        let owners = owners_of(&filled(&path));
        assert_eq!((owners.container, owners.pod), (container, None), "{path}");
    }
}

#[test]
fn units_are_found() {
    let unit = |unit: &str, slice: &str, user_unit: &str| {
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Some(UnitPath { unit: some(unit), slice: some(slice), user_unit: some(user_unit) })
    };
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let rows = [
        ("/init.scope".to_owned(), unit("init.scope", "", "")),
        ("/system.slice/nginx.service".to_owned(), unit("nginx.service", "system.slice", "")),
        (
            "/system.slice/nginx.service/worker".to_owned(),
            unit("nginx.service", "system.slice", ""),
        ),
        (
            r"/system.slice/system-getty.slice/getty@tty1.service".to_owned(),
            unit("getty@tty1.service", "system-getty.slice", ""),
        ),
        (
            r"/system.slice/dev-disk\x2dby.swap".to_owned(),
            unit(r"dev-disk\x2dby.swap", "system.slice", ""),
        ),
        ("/system.slice/_cpu.service".to_owned(), unit("cpu.service", "system.slice", "")),
        (
            "/user.slice/user-1000.slice/session-3.scope".to_owned(),
            unit("session-3.scope", "user-1000.slice", ""),
        ),
        (
            format!("{user}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope"),
            unit("user@1000.service", "user-1000.slice", "vte-spawn-1.scope"),
        ),
        (format!("{user}/init.scope"), unit("user@1000.service", "user-1000.slice", "init.scope")),
        ("/system.slice".to_owned(), unit("", "system.slice", "")),
        ("/".to_owned(), None),
        ("/anything/else".to_owned(), None),
    ];
    for (path, units) in rows {
        assert_eq!(owners_of(&path).units, units, "{path}");
    }
    let scope = owners_of(&filled("/system.slice/docker-<ID>.scope"));
    assert_eq!(scope.units.unwrap().unit, Some(format!("docker-{ID}.scope")));
}

/// A task that may create cgroups below its own does not become another pod's or container's.
#[test]
fn a_name_below_an_owner_changes_nothing() {
    let outer = [
        "/kubepods/burstable/pod<UID>/<ID>",
        "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
        "/docker/<ID>/any",
        "/system.slice/web.service",
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app.service",
    ];
    let inner = [
        "kubepods/besteffort/pod<OTHERUID>/OTHERID",
        "kubepods.slice/kubepods-pod<OTHERUID_>.slice/cri-containerd-OTHERID.scope",
        "kubelet/kubepods/pod<OTHERUID>/OTHERID",
        "pod<OTHERUID>/OTHERID",
    ];
    for (outer, inner) in outer.iter().flat_map(|outer| inner.map(|inner| (outer, inner))) {
        let alone = owners_of(&filled(outer));
        let nested = owners_of(&filled(&format!("{outer}/{inner}")));
        assert_eq!(nested.pod, alone.pod, "{outer}/{inner}");
        assert_eq!(nested.container, alone.container, "{outer}/{inner}");
    }
}

#[test]
fn names_that_only_resemble_those_of_pods_are_none() {
    let rows = [
        "/kubepods/burstable/pod/<ID>",
        "/kubepods/burstable/podnotauid/<ID>",
        "/kubepods/other/pod<UID>/<ID>",
        "/mykubepods/pod<UID>/<ID>",
        "/x/kubepods/pod<UID>/<ID>",
        "/kubepods-pod<UID>/<ID>",
        "/my-kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
    ];
    for path in rows {
        assert_eq!(owners_of(&filled(path)).pod, None, "{path}");
    }
}

#[test]
fn odd_paths_are_no_panic() {
    let long = format!("/{}", "x/".repeat(2_000));
    for path in
        ["", "/", "//", "/..", "/\n", "/-", "/.slice", "/.scope", "/pod", "/\u{fffd}", &long]
    {
        let _owners = owners_of(path);
    }
}
