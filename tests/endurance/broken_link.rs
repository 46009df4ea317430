//! A watcher whose network disappears without closing its connection.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries;
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::process;
use tokio::time::sleep;

use crate::support::counters;

/// Addresses for documentation (RFC 5737).
const OWN_ADDRESS: &str = "192.0.2.241/30";
/// The address to listen on.
const LISTEN: &str = "tcp://192.0.2.241:0";
/// Waits in a new network namespace for a link and an address, and watches there.
const WATCH: &str = r#"
echo alone
read -r url
ip link set lo up
ip address add 192.0.2.242/30 dev watcher0
ip link set watcher0 up
exec "$0" "$url" "$1"
"#;
/// More than a line's worth of exits, before and after the cut.
const EXITS: usize = 2_000;
/// The interval between checks whether the agent has noticed: it may need up to 50 s.
const LOOK: Duration = Duration::from_millis(250);

/// A pair of virtual links, which goes when this end is removed.
struct Link {
    name: String,
}

impl Link {
    /// Creates a pair with one end in the network of process `pid`.
    fn new(pid: u32) -> Result<Self> {
        let link = Self { name: format!("tsk{pid}") };
        let peer = ["peer", "name", "watcher0", "netns", &pid.to_string()];
        ip(&[&["link", "add", &link.name, "type", "veth"][..], &peer].concat())?;
        ip(&["address", "add", OWN_ADDRESS, "dev", &link.name])?;
        ip(&["link", "set", &link.name, "up"])?;
        Ok(link)
    }

    fn cut(&self) -> Result<()> {
        ip(&["link", "set", &self.name, "down"])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The kernel has removed it already if the network of the other end is gone.
        let _removed = ip(&["link", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    ensure!(output.status.success(), "ip {arguments:?}: {output:?}");
    Ok(())
}

/// The keepalive shows the agent that a watcher is unreachable, and it frees the watcher's
/// resources although the connection was never closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_behind_a_broken_link_is_disconnected() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let directory = tempfile::tempdir()?;
    let exit_log = directory.path().join("journal");
    let follower = binaries::follower()?;
    let (follower, exit_log) = (follower.to_string_lossy(), exit_log.to_string_lossy());
    let alone = ["--net", "sh", "-ec", WATCH, &follower, &exit_log];
    let mut peer = Peer::start(Path::new("unshare"), alone)?;
    peer.line_with("alone").await?;
    let link = Link::new(peer.pid()?)?;
    let agent =
        Agent::start_with(["--insecure", "--listen", LISTEN, "--grace-period", "0s"]).await?;
    counters(&agent.url()).await?;
    process::becomes_idle(agent.pid()?).await?;
    let before = process::descriptors(agent.pid()?)?;
    peer.say(&agent.listening_on("tcp://")?).await?;
    peer.line_with("ready").await?;
    assert_eq!(counters(&agent.url()).await?.watchers, 1);
    end_all(start_churn(EXITS)?).await?;
    peer.line_with("more").await?;

    link.cut()?;
    end_all(start_churn(EXITS)?).await?;
    within("the agent to notice", async {
        while counters(&agent.url()).await?.watchers > 0 {
            sleep(LOOK).await;
        }
        anyhow::Ok(())
    })
    .await??;
    process::closes_descriptors(agent.pid()?, before).await?;
    peer.kill().await?;
    Ok(())
}
