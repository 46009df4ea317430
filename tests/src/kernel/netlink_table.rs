//! The netlink sockets of a process, read from `/proc`.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result};

/// The protocol number of generic netlink in the column `Eth` (`NETLINK_GENERIC`).
const GENERIC: &str = "16";
/// Columns of `/proc/net/netlink` (`netlink_seq_show` in `net/netlink/af_netlink.c`).
const COLUMN_PROTOCOL: usize = 1;
const COLUMN_PORT_ID: usize = 2;
const COLUMN_INODE: usize = 9;

/// The address of a netlink socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub(super) u32);

impl PortId {
    /// Lets the kernel choose one.
    pub(super) const KERNEL_CHOOSES: Self = Self(0);
}

/// Returns the port ids of the generic netlink sockets that a process holds, in order.
///
/// # Errors
///
/// `/proc` cannot be read, for example because the process has ended.
pub fn port_ids_of(process: u32) -> Result<Vec<PortId>> {
    let inodes = socket_inodes_of(process)?;
    let table = fs::read_to_string("/proc/net/netlink")?;
    let mut ports = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let inode = columns.get(COLUMN_INODE).context("table without inodes")?;
        if columns.get(COLUMN_PROTOCOL) == Some(&GENERIC) && inodes.contains(*inode) {
            let port = columns.get(COLUMN_PORT_ID).context("table without port ids")?;
            ports.push(PortId(port.parse()?));
        }
    }
    ports.sort();
    Ok(ports)
}

fn socket_inodes_of(process: u32) -> Result<HashSet<String>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // A descriptor that was closed since the directory was read.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inodes.extend(inode.map(str::to_owned));
    }
    Ok(inodes)
}
