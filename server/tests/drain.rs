//! The drain of an agent whose threads for slow calls are all busy.

use std::sync::{Arc, Mutex, mpsc};

use clap::Parser;
use taskstatsd::agent::{self, Agent, Drained};
use taskstatsd::config::{Args, Config};
use tokio::task;

/// More slow calls than there are threads for them.
const SLOW_CALLS: usize = 64;

/// The last cursors and the hand-over do not wait for slow calls.
#[test]
fn slow_calls_do_not_delay_the_drain() {
    let directory = tempfile::tempdir().unwrap();
    let listen = format!("unix://{}", directory.path().join("agent.sock").display());
    let flags = ["taskstatsd", "--kernel", "sim", "--drain-timeout", "10s", "--listen", &listen];
    let config = Config::try_from(Args::parse_from(flags)).unwrap();
    let (end, waiting) = mpsc::channel::<()>();
    let waiting = Arc::new(Mutex::new(waiting));
    let drained = agent::runtime().unwrap().block_on(async {
        let running = Agent::bind(config, Vec::new()).await.unwrap().start().await.unwrap();
        for _ in 0..SLOW_CALLS {
            let waiting = Arc::clone(&waiting);
            drop(task::spawn_blocking(move || waiting.lock().unwrap().recv()));
        }
        let drained = running.drain().await;
        drop(end);
        drained
    });
    assert_eq!(drained, Drained::Complete);
}
