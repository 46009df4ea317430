use clap::Parser;

use super::*;
use crate::config::Args;

const GIB: u64 = 1 << 30;

fn config(flags: &[&str]) -> Config {
    let args = Args::parse_from(["taskstatsd"].iter().chain(flags));
    Config::try_from(args).unwrap()
}

fn bound(flags: &[&str]) -> MemoryBound {
    let config = config(flags);
    MemoryBound::of(&config, 4, &config.listen)
}

/// Each limit that a caller can use up raises the bound.
#[test]
fn every_limit_counts() {
    let least = bound(&[]).total();
    for flags in [
        ["--history-bytes", "1GiB"],
        ["--max-connections", "100000"],
        ["--max-streams", "100000"],
        ["--max-watchers", "100000"],
        ["--max-calls", "100000"],
        ["--max-slow-calls", "100000"],
        ["--max-request-size", "4MiB"],
        ["--max-header-size", "4MiB"],
    ] {
        let more = bound(&flags).total();
        assert!(more > least + GIB / 2, "{flags:?}: {more} is hardly more than {least}");
    }
    let tcp = bound(&["--listen", "tcp://127.0.0.1:0", "--insecure"]);
    assert!(tcp.connections > bound(&[]).connections, "{tcp}");
}

/// Headers that never end lie in each connection, also in those that are turned away.
#[test]
fn headers_that_are_not_whole_count_for_each_connection() {
    let more = bound(&["--max-header-size", "4MiB"]).connections - bound(&[]).connections;
    assert_eq!(more, (1024 + 64) * ((8 << 20) - (64 << 10)));
}

/// Each principal has its own, and may have a connection for each of them.
#[test]
fn health_checks_count_on_each_stream_of_each_connection() {
    let with = |connections| bound(&["--max-connections", connections]).answers;
    // 256 streams, of which each has 16 KiB of headers and twice the request.
    assert_eq!(with("3") - with("2"), 256 * ((16 << 10) + 2 * (4 << 10)));
}

/// Nor does the largest configuration overflow.
#[test]
fn no_limit_is_too_large_to_be_counted() {
    let flags = ["--max-connections", "1048576", "--max-streams", "1048576"];
    assert!(bound(&flags).total() > GIB << 10);
}

#[test]
fn what_is_not_there_is_not_told() {
    let said = bound(&[]).to_string();
    assert!(!said.contains("hand-over") && !said.contains("simulated"), "{said}");
    let said = bound(&["--kernel", "sim:cpus=4"]).to_string();
    assert!(said.contains("simulated sockets 128.0 MiB"), "{said}");
}
