//! Exits of this machine's kernel, decoded by the agent's library.

use std::time::Duration;

use anyhow::{Result, ensure};
use taskstatsd::bpf::CgroupLosses;
use taskstatsd::taskstats::{Depth, Exit, ExitSink, Kernel, LinuxKernel};

use crate::cpus;
use crate::session::Load;

/// A sink that keeps the exits.
#[derive(Debug, Default)]
struct Recording {
    exits: Vec<Exit>,
}

/// Enough that their lengths are mixed, and few enough to stay in the cache, where a socket's
/// messages are too.
const MOST_EXITS: usize = 1000;
/// The number of exits.
const LOAD: Load = Load { seconds: 1, rate: Some(1000), stamp: false };
/// Holds many times that load.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Records the exits of a short load, and others that happen meanwhile.
pub(crate) fn of_this_machine() -> Result<Vec<Exit>> {
    let mut recording = Recording::default();
    let mut listener = LinuxKernel::new(RECEIVE_BUFFER_BYTES)?.listen()?;
    let cpus = cpus::online()?;
    for cpu in &cpus {
        listener.open(*cpu)?;
    }
    LOAD.run()?;
    listener.wait(Some(Duration::ZERO))?;
    listener.drain(Depth::Empty, &mut recording);
    for cpu in cpus {
        listener.close(cpu, &mut recording);
    }
    ensure!(!recording.exits.is_empty(), "the recording has no exits");
    Ok(recording.exits)
}

impl ExitSink for Recording {
    fn exit(&mut self, exit: &Exit) {
        if self.exits.len() < MOST_EXITS {
            self.exits.push(exit.clone());
        }
    }

    /// A sample needs not be complete, and other loads of the machine may be larger than this one.
    fn dropped(&mut self, _: u32, _: u64, _: CgroupLosses) {}
}
