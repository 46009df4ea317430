//! The switch of delay accounting, and since when it has been on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};

use super::failed;
use crate::clock::unix_time;
use crate::taskstats::{DelayAccounting, KernelError, Since};

/// The sysctl. Absent before 5.14, where the kernel's command line decides.
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";
/// The first kernel with the sysctl, if it can keep delay accounts at all.
const SWITCH_SINCE: (u32, u32) = (5, 14);
const COMMAND_LINE: &str = "/proc/cmdline";
/// How the kernel was configured, where distributions put it.
const BOOT_CONFIG: &str = "/boot/config-";
const CONFIGURED: &str = "CONFIG_TASK_DELAY_ACCT=y";
/// How long a reading stands for the next ones, unless something is written: many answers a millisecond need
/// not each look for what changes once in a machine's life, and to hear that nothing was written takes a
/// fraction of the time.
const READING_LASTS: Duration = Duration::from_millis(1);
/// Room for the events that a file has, which have no names: 16 bytes each. The kernel merges those
/// that are alike.
const EVENT_BYTES: usize = 256;

/// Reads whether delays are accounted, and remembers when that was seen to change.
#[derive(Debug)]
pub(super) struct DelaySwitch {
    /// Kept open, because it is read with most answers. `None` where the kernel has none.
    file: Option<File>,
    at_boot: BootSetting,
    reading_lasts: Duration,
    seen: Mutex<SwitchHistory>,
}

/// Whether somebody wrote to the switch. Readings alone would miss that it was off between two of
/// them. What is written through another mount of procfs is not seen.
#[derive(Debug)]
struct WriteWatch {
    inotify: Inotify,
}

/// What was decided when the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BootSetting {
    On,
    Off,
    Unsaid,
}

/// What the readings so far showed. Moments are kept by the clock that nobody sets: the kernel
/// computes when a task began from the wall clock of the answer and the task's age, so these are
/// computed so too.
#[derive(Debug, Default)]
struct SwitchHistory {
    /// Before the last reading that was off.
    off_at: Option<Instant>,
    /// After the first reading since that was on, with nothing written after it.
    on_at: Option<Instant>,
    /// `None` where writes cannot be seen: then it may have been off before each reading.
    writes: Option<WriteWatch>,
    newest: Option<SwitchReading>,
}

/// What was read, and just before when.
#[derive(Clone, Copy, Debug)]
struct SwitchReading {
    at: Instant,
    position: SwitchState,
}

/// What the switch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SwitchState {
    On,
    Off,
    Unknown,
}

impl DelaySwitch {
    /// Looks for the switch of the kernel of this release.
    pub(super) fn new(release: &str) -> Self {
        let command_line = fs::read_to_string(COMMAND_LINE).unwrap_or_default();
        let file = File::open(SWITCH);
        let is_absent = file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let at_boot = if is_absent {
            let config = fs::read_to_string(format!("{BOOT_CONFIG}{release}"));
            without_switch(&command_line, release, config.ok().as_deref())
        } else {
            // Whatever the command line says, it may have been off since.
            BootSetting::Unsaid
        };
        let writes = if is_absent { None } else { WriteWatch::watch(SWITCH) };
        let seen = SwitchHistory { writes, ..SwitchHistory::default() };
        let (file, reading_lasts) = (file.ok(), READING_LASTS);
        let switch = Self { file, at_boot, reading_lasts, seen: Mutex::new(seen) };
        // Tasks that begin after this reading are known to have accounts, if it was on.
        switch.read();
        switch
    }

    pub(super) fn read(&self) -> DelayAccounting {
        let Some(file) = &self.file else {
            return match self.at_boot {
                BootSetting::On => DelayAccounting::On(Since::Boot),
                BootSetting::Off => DelayAccounting::Off,
                BootSetting::Unsaid => DelayAccounting::Unknown,
            };
        };
        // Held while reading, so that readings are in the order of their moments.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_if_written();
        let now = Instant::now();
        let lasts = |reading: &SwitchReading| {
            now.saturating_duration_since(reading.at) < self.reading_lasts
        };
        let position = match seen.newest.filter(lasts) {
            Some(reading) => reading.position,
            None => seen.read(file, now),
        };
        seen.tell(position)
    }

    /// Turns it on.
    pub(super) fn turn_on(&self) -> Result<(), KernelError> {
        if matches!(self.read(), DelayAccounting::On(_)) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(SWITCH);
        let written = file.and_then(|mut file| file.write_all(b"1\n"));
        written.map_err(|source| failed("writing 1 to /proc/sys/kernel/task_delayacct", source))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).newest = None;
        self.read();
        Ok(())
    }
}

impl SwitchHistory {
    fn read(&mut self, file: &File, now: Instant) -> SwitchState {
        let mut digit = [0];
        let position = match (file.read_at(&mut digit, 0), digit) {
            (Ok(1), [b'0']) => {
                (self.off_at, self.on_at) = (Some(now), None);
                SwitchState::Off
            }
            (Ok(1), [b'1']) => {
                self.on();
                SwitchState::On
            }
            _ => SwitchState::Unknown,
        };
        self.newest = Some(SwitchReading { at: now, position });
        position
    }

    /// Takes a reading that was on. It may have been off since the reading before if something was
    /// written meanwhile: then only tasks that begin from now on surely have accounts.
    fn on(&mut self) {
        self.forget_if_written();
        self.on_at.get_or_insert_with(Instant::now);
    }

    /// Where something was written, or nobody knows, the readings so far say nothing of now.
    fn forget_if_written(&mut self) {
        if self.writes.as_mut().is_none_or(WriteWatch::happened) {
            (self.on_at, self.newest) = (None, None);
        }
    }

    /// Tells it by the clock of the wall as it is now, which may have been set since the reading.
    fn tell(&self, position: SwitchState) -> DelayAccounting {
        match (position, self.on_at) {
            (SwitchState::Off, _) => DelayAccounting::Off,
            (SwitchState::On, Some(on_at)) => {
                let wall_clock = unix_time();
                let now = Instant::now();
                let told = |moment: Instant| wall_clock.saturating_sub(now.duration_since(moment));
                let (off_at, on_at) = (self.off_at.map(told), told(on_at));
                DelayAccounting::On(Since::Between { off_at, on_at })
            }
            (SwitchState::On, None) | (SwitchState::Unknown, _) => DelayAccounting::Unknown,
        }
    }
}

impl WriteWatch {
    fn watch(path: &str) -> Option<Self> {
        let watched = Inotify::init().and_then(|inotify| {
            inotify.watches().add(path, WatchMask::MODIFY)?;
            Ok(Self { inotify })
        });
        let unseen = |error: &io::Error| {
            tracing::warn!(
                %error,
                "writes to kernel.task_delayacct cannot be seen, so zero delays of tasks mean nothing; raise the sysctl fs.inotify.max_user_instances if it is used up"
            );
        };
        watched.inspect_err(unseen).ok()
    }

    /// Whether there were some since this was asked last.
    fn happened(&mut self) -> bool {
        let mut events = [0; EVENT_BYTES];
        match self.inotify.read_events(&mut events) {
            Ok(mut events) => events.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// What a kernel without the switch does: that of before the switch came accounts delays unless
/// it is told not to; a later one was built without.
fn without_switch(command_line: &str, release: &str, config: Option<&str>) -> BootSetting {
    if has_word(command_line, "nodelayacct") {
        return BootSetting::Off;
    }
    match config.map(|config| config.lines().any(|line| line.trim() == CONFIGURED)) {
        Some(false) => return BootSetting::Off,
        Some(true) => return BootSetting::On,
        None => {}
    }
    match version(release) {
        Some(version) if version >= SWITCH_SINCE => BootSetting::Off,
        _ => BootSetting::Unsaid,
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
            ("quiet nodelayacct", old, Some(with), BootSetting::Off),
            ("quiet", old, Some(with), BootSetting::On),
            ("quiet", old, Some(without), BootSetting::Off),
            ("quiet", old, None, BootSetting::Unsaid),
            ("quiet", new, None, BootSetting::Off),
            ("quiet", "unheard-of", None, BootSetting::Unsaid),
            ("quiet xnodelayacct", old, None, BootSetting::Unsaid),
        ] {
            let found = without_switch(command_line, release, config);
            assert_eq!(found, expected, "{command_line}, {release}, {config:?}");
        }
    }

    /// A switch in a file of the test's own.
    fn switch(file: &tempfile::NamedTempFile) -> DelaySwitch {
        let writes = WriteWatch::watch(file.path().to_str().unwrap());
        let seen = Mutex::new(SwitchHistory { writes, ..SwitchHistory::default() });
        let (file, reading_lasts) = (Some(file.reopen().unwrap()), Duration::ZERO);
        DelaySwitch { file, at_boot: BootSetting::Unsaid, reading_lasts, seen }
    }

    #[test]
    fn a_reading_stands_for_the_next_until_something_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(&file, "0");
        let switch = DelaySwitch { reading_lasts: Duration::MAX, ..switch(&file) };
        let read_at = |switch: &DelaySwitch| switch.seen.lock().unwrap().newest.unwrap().at;
        assert_eq!(switch.read(), DelayAccounting::Off);
        let first = read_at(&switch);
        assert_eq!(switch.read(), DelayAccounting::Off);
        assert_eq!(read_at(&switch), first);
        write(&file, "1");
        assert!(matches!(switch.read(), DelayAccounting::On(_)));
        assert!(read_at(&switch) > first);
        let second = read_at(&switch);
        let switch = DelaySwitch { reading_lasts: Duration::ZERO, ..switch };
        switch.read();
        assert!(read_at(&switch) > second);
    }

    fn on_at(switch: &DelaySwitch) -> Option<Instant> {
        assert!(matches!(switch.read(), DelayAccounting::On(Since::Between { .. })));
        switch.seen.lock().unwrap().on_at
    }

    fn write(file: &tempfile::NamedTempFile, digit: &str) {
        fs::write(file.path(), digit).unwrap();
    }

    #[test]
    fn the_first_reading_that_was_on_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(&file, "0");
        let switch = switch(&file);
        assert_eq!(switch.read(), DelayAccounting::Off);
        let off_at = switch.seen.lock().unwrap().off_at;
        write(&file, "1");
        let first = on_at(&switch);
        assert_eq!(on_at(&switch), first);
        assert!(off_at.is_some() && first >= off_at);
        assert_eq!(switch.seen.lock().unwrap().off_at, off_at);
    }

    /// A task that began meanwhile has no account, and its zeros mean nothing.
    #[test]
    fn a_switch_that_was_off_between_two_readings_is_on_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(&file, "1");
        let switch = switch(&file);
        let first = on_at(&switch);
        write(&file, "0");
        write(&file, "1");
        let second = on_at(&switch);
        assert!(second > first);
        assert_eq!(on_at(&switch), second);
    }

    /// Where nobody tells of writes, each reading knows of its own moment alone.
    #[test]
    fn without_word_of_writes_no_reading_speaks_for_the_time_before_it() {
        let mut seen = SwitchHistory::default();
        seen.on();
        let first = seen.on_at;
        seen.on();
        assert!(seen.on_at > first);
    }

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.12.79-101.amzn2023"), Some((6, 12)));
        assert_eq!(version("5.14-rc1"), Some((5, 14)));
        assert_eq!(version(""), None);
    }
}
