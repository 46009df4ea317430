//! Compares the memory limits in `deploy/` with the agent's memory bound.

use std::fs;
use std::path::Path;

use clap::Parser;
use taskstatsd::capacity::MemoryBound;
use taskstatsd::config::{Args, Config};
use taskstatsd::listen::ListenAddress;

const SERVICE: &str = "systemd/taskstatsd.service";
const DAEMON_SET: &str = "kubernetes/daemonset.yaml";
/// The bound does not depend on CPUs, unless the kernel is simulated.
const CPUS: usize = 1;
/// `256M` of systemd and `256Mi` of Kubernetes are 256 of these.
const MEBIBYTE: u64 = 1 << 20;
/// The only variables that a deployment sets, none of which is a limit.
const VARIABLES: [&str; 2] = ["TASKSTATSD_STATE_DIR", "TASKSTATSD_NODE_NAME"];

fn read(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(directory.join(name)).expect("a file of deploy/")
}

/// Returns the largest number of `unit` after `key`.
fn mebibytes(text: &str, key: &str, unit: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let sizes = values.filter_map(|value| value.trim().strip_suffix(unit)?.parse::<u64>().ok());
    // The request of Kubernetes is below the limit.
    sizes.max().expect("a limit") * MEBIBYTE
}

/// Returns the names of all variables of the agent in a file.
fn variables(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_uppercase() || c == '_')));
    words.filter(|word| word.starts_with("TASKSTATSD_")).collect()
}

/// Computes the bound of an agent with the default limits, on unix sockets and TCP.
fn bound(flags: &[&str]) -> u64 {
    let args = Args::parse_from(["taskstatsd"].iter().chain(flags));
    let config = Config::try_from(args).expect("settings that the agent starts with");
    let tcp: ListenAddress = "tcp://0.0.0.0".parse().expect("an address");
    MemoryBound::of(&config, CPUS, config.listen.iter().chain([&tcp])).total()
}

#[test]
fn deployments_override_no_default() {
    for (name, expected) in [(SERVICE, VARIABLES[0]), (DAEMON_SET, VARIABLES[1])] {
        assert_eq!(variables(&read(name)), [expected], "{name}");
    }
}

#[test]
fn the_unit_allows_the_memory_bound() {
    // The directory of the unit does not exist on this machine; any other has the same bound.
    let directory = std::env::temp_dir();
    let state_dir = directory.to_str().expect("a path in UTF-8");
    let (needed, allowed) =
        (bound(&["--state-dir", state_dir]), mebibytes(&read(SERVICE), "MemoryMax=", "M"));
    assert!(needed <= allowed, "{needed} of {allowed} bytes");
}

#[test]
fn the_daemon_set_allows_the_memory_bound() {
    let (needed, allowed) = (bound(&[]), mebibytes(&read(DAEMON_SET), "memory:", "Mi"));
    assert!(needed <= allowed, "{needed} of {allowed} bytes");
}

#[test]
fn the_unit_reloads_by_sighup() {
    assert!(read(SERVICE).lines().any(|line| line == "ExecReload=/bin/kill -HUP $MAINPID"));
}
