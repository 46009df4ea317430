//! The time of an exit, carried by the name of the exiting thread.
//!
//! The kernel reports the name of an exited task, so a thread that names itself after the time just
//! before it ends has its exit event bring that time back, through whatever lies in between.

use std::io;
use std::str;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::prctl;

/// A name that carries a time: [`PREFIX`], then the nanoseconds since 1970 in base 36, then NUL.
type Name = [u8; NAME_BYTES];

/// `TASK_COMM_LEN` of the kernel: longer names are cut.
const NAME_BYTES: usize = 16;
/// Distinguishes a stamped thread from other tasks of the machine.
const PREFIX: [u8; 2] = *b"tb";
/// `u64::MAX` has 13 digits in this base, which fit between the prefix and the NUL.
const RADIX: u32 = 36;

/// Names the calling thread after the current time.
pub(crate) fn mark_this_thread() -> io::Result<()> {
    let name = name_of(now_ns());
    let name = std::ffi::CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(prctl::set_name(name)?)
}

/// Returns the stamp in a command name, in nanoseconds since 1970; `None` when it has none.
pub(crate) fn read(comm: &[u8]) -> Option<u64> {
    let digits = comm.split(|&byte| byte == 0).next()?.strip_prefix(&PREFIX)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, RADIX).ok()
}

/// The current time, in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

fn name_of(mut time_ns: u64) -> Name {
    let mut name = [b'0'; NAME_BYTES];
    name[..PREFIX.len()].copy_from_slice(&PREFIX);
    name[NAME_BYTES - 1] = 0;
    for place in name[PREFIX.len()..NAME_BYTES - 1].iter_mut().rev() {
        *place = digit(time_ns % u64::from(RADIX));
        time_ns /= u64::from(RADIX);
    }
    name
}

fn digit(value: u64) -> u8 {
    const DIGITS: &[u8; RADIX as usize] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    usize::try_from(value).ok().and_then(|index| DIGITS.get(index)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each time from 1970 to the end of the type survives a round trip.
    #[test]
    fn a_name_brings_its_time_back() {
        for time_ns in [0, 35, 36, now_ns(), u64::MAX] {
            assert_eq!(read(&name_of(time_ns)), Some(time_ns));
        }
    }

    /// Other tasks of the machine exit as well.
    #[test]
    fn a_foreign_name_has_no_time() {
        assert_eq!(read(b"bash\0\0"), None);
        assert_eq!(read(b"tb-agent\0"), None);
        assert_eq!(read(b""), None);
    }
}
