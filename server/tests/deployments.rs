//! What `deploy/` allows the agent is what the agent can come to need.

use std::fs;
use std::path::Path;

use clap::Parser;
use taskstatsd::capacity::MemoryBound;
use taskstatsd::config::{Args, Config};
use taskstatsd::listen::ListenAddress;

const SERVICE: &str = "systemd/taskstatsd.service";
const DAEMON_SET: &str = "kubernetes/daemonset.yaml";
/// CPUs say nothing to a ceiling of Linux's own kernel.
const CPUS: usize = 1;
/// In both forms: 448 MiB are `448M` to systemd and `448Mi` to Kubernetes.
const MEBIBYTE: u64 = 1 << 20;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(folder.join(name)).expect("a file of deploy/")
}

/// The number in front of `unit`, behind `key`.
fn mebibytes(text: &str, key: &str, unit: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let sizes = values.filter_map(|value| value.trim().strip_suffix(unit)?.parse::<u64>().ok());
    // What is requested is less than the limit.
    sizes.max().expect("a limit") * MEBIBYTE
}

/// The agent's flags that stand for variables: `TASKSTATSD_MAX_CALLS=64` is `--max-calls=64`.
fn flags<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let flag = |(name, value): (&str, &str)| {
        let name = name.strip_prefix("TASKSTATSD_")?.to_lowercase().replace('_', "-");
        Some(format!("--{name}={value}"))
    };
    variables.filter_map(flag).collect()
}

/// The ceiling with these variables, by unix sockets and by TCP.
fn ceiling(flags: &[String]) -> u64 {
    let program = ["taskstatsd".to_owned()];
    let mut args = Args::parse_from(program.iter().chain(flags));
    // The folder of the unit is not on this machine; any other counts alike.
    args.state_dir = args.state_dir.map(|_| std::env::temp_dir());
    let config = Config::try_from(args).expect("settings that the agent starts with");
    let tcp: ListenAddress = "tcp://0.0.0.0".parse().expect("an address");
    MemoryBound::of(&config, CPUS, config.listen.iter().chain([&tcp])).total()
}

#[test]
fn the_unit_allows_what_its_settings_can_take() {
    let unit = read(SERVICE);
    let lines = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let variables = lines.flat_map(str::split_whitespace).filter_map(|it| it.split_once('='));
    let flags = flags(variables);
    assert!(flags.iter().any(|flag| flag.starts_with("--state-dir")), "{flags:?}");
    let (needed, allowed) = (ceiling(&flags), mebibytes(&unit, "MemoryMax=", "M"));
    assert!(needed <= allowed, "{needed} of {allowed} bytes, with {flags:?}");
}

#[test]
fn the_daemon_set_allows_what_its_settings_can_take() {
    let manifest = read(DAEMON_SET);
    let lines: Vec<_> = manifest.lines().map(str::trim).collect();
    let variables = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("- name: ")?;
        Some((name, pair[1].strip_prefix("value: ")?.trim_matches('"')))
    });
    let flags = flags(variables);
    assert!(flags.iter().any(|flag| flag.starts_with("--max-connections")), "{flags:?}");
    let (needed, allowed) = (ceiling(&flags), mebibytes(&manifest, "memory:", "Mi"));
    assert!(needed <= allowed, "{needed} of {allowed} bytes, with {flags:?}");
}
