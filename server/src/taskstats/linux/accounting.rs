//! The switch of delay accounting, and since when it has been on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::failed;
use crate::taskstats::{DelayAccounting, KernelError, Since};

/// The sysctl. Absent before 5.14, where the kernel's command line decides.
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";
/// The first kernel with the sysctl, if it can keep delay accounts at all.
const SWITCH_SINCE: (u32, u32) = (5, 14);
const COMMAND_LINE: &str = "/proc/cmdline";
/// How the kernel was configured, where distributions put it.
const BOOT_CONFIG: &str = "/boot/config-";
const CONFIGURED: &str = "CONFIG_TASK_DELAY_ACCT=y";

/// Reads whether delays are accounted, and remembers when that was seen to change.
#[derive(Debug)]
pub(super) struct Switch {
    /// Kept open, because it is read with every answer. `None` where the kernel has none.
    file: Option<File>,
    at_boot: AtBoot,
    seen: Mutex<Seen>,
}

/// What was decided when the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtBoot {
    On,
    Off,
    Unsaid,
}

/// What the readings so far showed. Moments are kept by the clock that nobody sets: the kernel
/// computes when a task began from the wall clock of the answer and the task's age, so these are
/// computed so too.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Before the last reading that was off.
    off_at: Option<Instant>,
    /// After the first reading since that was on.
    on_at: Option<Instant>,
}

impl Switch {
    /// Looks for the switch of the kernel of this release.
    pub(super) fn new(release: &str) -> Self {
        let command_line = fs::read_to_string(COMMAND_LINE).unwrap_or_default();
        let file = File::open(SWITCH);
        let is_absent = file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let at_boot = if is_absent {
            let config = fs::read_to_string(format!("{BOOT_CONFIG}{release}"));
            without_switch(&command_line, release, config.ok().as_deref())
        } else if has_word(&command_line, "delayacct") {
            AtBoot::On
        } else {
            AtBoot::Unsaid
        };
        let switch = Self { file: file.ok(), at_boot, seen: Mutex::default() };
        // Tasks that begin after this reading are known to have accounts, if it was on.
        switch.read();
        switch
    }

    pub(super) fn read(&self) -> DelayAccounting {
        let Some(file) = &self.file else {
            return match self.at_boot {
                AtBoot::On => DelayAccounting::On(Since::Boot),
                AtBoot::Off => DelayAccounting::Off,
                AtBoot::Unsaid => DelayAccounting::Unknown,
            };
        };
        // Held while reading, so that readings are in the order of their moments.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Instant::now();
        let mut digit = [0];
        match (file.read_at(&mut digit, 0), digit) {
            (Ok(1), [b'0']) => {
                *seen = Seen { off_at: Some(before), on_at: None };
                DelayAccounting::Off
            }
            (Ok(1), [b'1']) => DelayAccounting::On(seen.on(self.at_boot)),
            _ => DelayAccounting::Unknown,
        }
    }

    /// Turns it on.
    pub(super) fn turn_on(&self) -> Result<(), KernelError> {
        if matches!(self.read(), DelayAccounting::On(_)) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(SWITCH);
        let written = file.and_then(|mut file| file.write_all(b"1\n"));
        written.map_err(|source| failed("writing 1 to /proc/sys/kernel/task_delayacct", source))?;
        self.read();
        Ok(())
    }
}

impl Seen {
    /// Takes a reading that was on.
    fn on(&mut self, at_boot: AtBoot) -> Since {
        let now = Instant::now();
        let on_at = *self.on_at.get_or_insert(now);
        if self.off_at.is_none() && at_boot == AtBoot::On {
            return Since::Boot;
        }
        let wall_clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let told = |moment: Instant| wall_clock.saturating_sub(now.duration_since(moment));
        Since::Between { off_at: self.off_at.map(told), on_at: told(on_at) }
    }
}

/// What a kernel without the switch does: that of before the switch came accounts delays unless
/// it is told not to; a later one was built without.
fn without_switch(command_line: &str, release: &str, config: Option<&str>) -> AtBoot {
    if has_word(command_line, "nodelayacct") {
        return AtBoot::Off;
    }
    match config.map(|config| config.lines().any(|line| line.trim() == CONFIGURED)) {
        Some(false) => return AtBoot::Off,
        Some(true) => return AtBoot::On,
        None => {}
    }
    match version(release) {
        Some(version) if version >= SWITCH_SINCE => AtBoot::Off,
        _ => AtBoot::Unsaid,
    }
}

fn has_word(command_line: &str, word: &str) -> bool {
    command_line.split_whitespace().any(|parameter| parameter == word)
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_switch_the_command_line_and_the_configuration_decide() {
        let (old, new) = ("5.10.0-33-amd64", "6.1.0-9-amd64");
        let (with, without) =
            ("A=y\nCONFIG_TASK_DELAY_ACCT=y\n", "# CONFIG_TASK_DELAY_ACCT is not set\n");
        for (command_line, release, config, expected) in [
            ("quiet nodelayacct", old, Some(with), AtBoot::Off),
            ("quiet", old, Some(with), AtBoot::On),
            ("quiet", old, Some(without), AtBoot::Off),
            ("quiet", old, None, AtBoot::Unsaid),
            ("quiet", new, None, AtBoot::Off),
            ("quiet", "unheard-of", None, AtBoot::Unsaid),
            ("quiet xnodelayacct", old, None, AtBoot::Unsaid),
        ] {
            let found = without_switch(command_line, release, config);
            assert_eq!(found, expected, "{command_line}, {release}, {config:?}");
        }
    }

    #[test]
    fn a_switch_that_was_on_from_the_boot_is_since_the_boot_until_it_was_seen_off() {
        let mut seen = Seen::default();
        assert_eq!(seen.on(AtBoot::On), Since::Boot);
        let mut seen = Seen { off_at: Some(Instant::now()), on_at: None };
        assert!(matches!(seen.on(AtBoot::On), Since::Between { off_at: Some(_), .. }));
        let mut seen = Seen::default();
        assert!(matches!(seen.on(AtBoot::Unsaid), Since::Between { off_at: None, .. }));
    }

    #[test]
    fn the_first_reading_that_was_on_counts() {
        let before = Instant::now();
        let mut seen = Seen { off_at: Some(before), on_at: None };
        seen.on(AtBoot::Unsaid);
        let first = seen.on_at;
        seen.on(AtBoot::Unsaid);
        assert_eq!((seen.off_at, seen.on_at), (Some(before), first));
        assert!(first.is_some_and(|first| first >= before));
    }

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.12.79-101.amzn2023"), Some((6, 12)));
        assert_eq!(version("5.14-rc1"), Some((5, 14)));
        assert_eq!(version(""), None);
    }
}
