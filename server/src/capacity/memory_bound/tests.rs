use clap::Parser;

use super::*;
use crate::config::Args;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The bound that every node can spare.
const SHIPPED: u64 = 256 * MIB;

fn config(flags: &[&str]) -> Config {
    let args = Args::parse_from(["taskstatsd"].iter().chain(flags));
    Config::try_from(args).unwrap()
}

fn bound(flags: &[&str]) -> MemoryBound {
    let config = config(flags);
    MemoryBound::of(&config, 4, &config.listen)
}

#[test]
fn the_defaults_are_bounded_by_256_mib() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().to_str().unwrap();
    for flags in [
        &[][..],
        &["--listen", "tcp://127.0.0.1:0", "--insecure"],
        &["--listen", "tcp://127.0.0.1:0", "--insecure", "--state-dir", state_dir],
    ] {
        let bound = bound(flags);
        assert!(bound.total() <= SHIPPED, "{flags:?}: {}", bound.parts());
    }
}

#[test]
fn every_limit_that_a_client_can_use_raises_the_bound() {
    let least = bound(&[]).total();
    for flags in [
        ["--history-bytes", "1GiB"],
        ["--max-connections", "100000"],
        ["--max-streams", "100000"],
        ["--max-watchers", "100000"],
        ["--max-calls", "100000"],
        ["--max-slow-calls", "100000"],
        ["--max-request-size", "8MiB"],
        ["--max-header-size", "4MiB"],
    ] {
        let args = Args::parse_from(["taskstatsd"].iter().chain(&flags));
        // Above the range of the flag, for a difference that can be seen.
        let request = bytes_of(args.limits.max_request_size);
        let mut config = config(&[]);
        if flags[0] == "--max-request-size" {
            config.connection.size.request = request;
        } else {
            config = Config::try_from(args).unwrap();
        }
        let more = MemoryBound::of(&config, 4, &config.listen).total();
        assert!(more > least + GIB / 2, "{flags:?}: {more} is hardly more than {least}");
    }
    let tcp = bound(&["--listen", "tcp://127.0.0.1:0", "--insecure"]);
    assert!(tcp.connections > bound(&[]).connections, "{}", tcp.parts());
}

fn bytes_of(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap()
}

/// An endless header block is kept for each connection, also for those beyond the limit.
#[test]
fn incomplete_headers_count_for_each_connection() {
    let more = bound(&["--max-header-size", "4MiB"]).connections - bound(&[]).connections;
    assert_eq!(more, (64 + 8) * ((8 << 20) - (64 << 10)));
}

#[test]
fn health_checks_are_bounded_by_connections() {
    let with = |connections| bound(&["--max-connections", connections]).responses;
    // Each has 16 KiB of headers and three times the request, and a principal can hold half of the limit.
    let check = (16 << 10) + 3 * (4 << 10);
    assert_eq!(with("3") - with("2"), number(MAX_HEALTH_CHECKS) / 2 * check);
    assert_eq!(bound(&["--max-streams", "1000"]).responses, bound(&[]).responses);
}

#[test]
fn the_largest_limits_do_not_overflow() {
    let flags = ["--max-connections", "1048576", "--max-streams", "1048576"];
    assert!(bound(&flags).total() > GIB << 10);
}

#[test]
fn parts_of_zero_are_not_shown() {
    let parts = bound(&[]).parts();
    assert!(!parts.contains("handover") && !parts.contains("simulated"), "{parts}");
    let parts = bound(&["--kernel", "sim:cpus=4"]).parts();
    assert!(parts.contains("simulated 128.0 MiB"), "{parts}");
}
