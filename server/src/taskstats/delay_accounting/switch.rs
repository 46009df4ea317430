//! The setting of delay accounting, and since when it is on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};

use super::{DelayAccounting, Since};
use crate::clock::unix_time;
use crate::taskstats::KernelError;
use crate::taskstats::reply::failed;

/// The sysctl. It is absent before 5.14, where the kernel's command line decides.
const SYSCTL: &str = "/proc/sys/kernel/task_delayacct";
/// The first release with the sysctl, if the kernel was built with delay accounting.
const SYSCTL_SINCE: (u32, u32) = (5, 14);
const COMMAND_LINE: &str = "/proc/cmdline";
/// The kernel's build configuration, where distributions install it.
const BUILD_CONFIG: &str = "/boot/config-";
const CONFIGURED: &str = "CONFIG_TASK_DELAY_ACCT=y";
/// The time for which a reading is reused unless the sysctl is written. Thousands of queries a second need not each
/// read a setting that hardly ever changes; polling inotify costs a fraction of reading procfs.
const READING_REUSED_FOR: Duration = Duration::from_millis(1);
/// Buffer for the events of a file, 16 bytes each because they have no names. The kernel merges events
/// that are alike.
const EVENT_BYTES: usize = 256;

/// Reads whether delays are accounted, and remembers when that was seen to change.
#[derive(Debug)]
pub(in crate::taskstats) struct DelaySwitch {
    /// The sysctl, kept open because it is read for most queries. `None` where the kernel has none.
    file: Option<File>,
    at_boot: BootSetting,
    reading_reused_for: Duration,
    history: Mutex<SwitchHistory>,
}

/// The setting of a kernel without the sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BootSetting {
    On,
    Off,
    Unknown,
}

/// The readings so far. Their times are monotonic: the kernel computes a task's start time from its age
/// and the wall clock at the query, and so these times are converted when they are used.
#[derive(Debug, Default)]
struct SwitchHistory {
    /// A time before the last reading that was off.
    off_at: Option<Instant>,
    /// A time after the first reading since then that was on and was not followed by a write.
    on_at: Option<Instant>,
    /// `None` if writes cannot be observed: then accounting may have been off before each reading.
    writes: Option<WriteWatch>,
    newest: Option<SwitchReading>,
}

/// Observes writes to the sysctl: two readings would miss that it was off in between. Writes through
/// another mount of procfs are not observed.
#[derive(Debug)]
struct WriteWatch {
    inotify: Inotify,
}

/// A reading, and a time before it.
#[derive(Clone, Copy, Debug)]
struct SwitchReading {
    at: Instant,
    state: SwitchState,
}

/// The value of the sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SwitchState {
    On,
    Off,
    Unknown,
}

impl DelaySwitch {
    /// Finds the setting of the running kernel, whose release this is.
    pub(in crate::taskstats) fn new(release: &str) -> Self {
        let file = File::open(SYSCTL);
        let is_absent = file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let at_boot = if is_absent {
            let command_line = fs::read_to_string(COMMAND_LINE).unwrap_or_default();
            let config = fs::read_to_string(format!("{BUILD_CONFIG}{release}"));
            boot_setting(&command_line, release, config.ok().as_deref())
        } else {
            // The sysctl may have been changed since the boot.
            BootSetting::Unknown
        };
        let writes = if is_absent { None } else { WriteWatch::new(SYSCTL) };
        let history = Mutex::new(SwitchHistory { writes, ..SwitchHistory::default() });
        let switch =
            Self { file: file.ok(), at_boot, reading_reused_for: READING_REUSED_FOR, history };
        // If it is on, tasks that start after this reading are known to be covered.
        switch.read();
        switch
    }

    /// Returns whether delays are accounted now, and since when.
    pub(in crate::taskstats) fn read(&self) -> DelayAccounting {
        let Some(file) = &self.file else {
            return match self.at_boot {
                BootSetting::On => DelayAccounting::On(Since::Boot),
                BootSetting::Off => DelayAccounting::Off,
                BootSetting::Unknown => DelayAccounting::Unknown,
            };
        };
        // Locked while reading, so that readings are in the order of their times.
        let mut history = self.lock();
        history.forget_if_written();
        let now = Instant::now();
        let is_recent = |reading: &SwitchReading| {
            now.saturating_duration_since(reading.at) < self.reading_reused_for
        };
        let state = match history.newest.filter(is_recent) {
            Some(reading) => reading.state,
            None => history.read(file, now),
        };
        history.accounting(state)
    }

    /// Turns delay accounting on.
    pub(in crate::taskstats) fn turn_on(&self) -> Result<(), KernelError> {
        if matches!(self.read(), DelayAccounting::On(_)) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(SYSCTL);
        let written = file.and_then(|mut file| file.write_all(b"1\n"));
        written.map_err(|source| failed("writing 1 to /proc/sys/kernel/task_delayacct", source))?;
        self.lock().newest = None;
        self.read();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, SwitchHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SwitchHistory {
    fn read(&mut self, file: &File, now: Instant) -> SwitchState {
        let mut digit = [0];
        let state = match (file.read_at(&mut digit, 0), digit) {
            (Ok(1), [b'0']) => {
                (self.off_at, self.on_at) = (Some(now), None);
                SwitchState::Off
            }
            (Ok(1), [b'1']) => {
                self.note_on();
                SwitchState::On
            }
            _ => SwitchState::Unknown,
        };
        self.newest = Some(SwitchReading { at: now, state });
        state
    }

    /// Notes a reading that was on. If the sysctl was written since the last reading, accounting may have
    /// been off in between: then only tasks that start from now on are known to be covered.
    fn note_on(&mut self) {
        self.forget_if_written();
        self.on_at.get_or_insert_with(Instant::now);
    }

    /// Forgets the readings so far if the sysctl was written, or may have been, since then.
    fn forget_if_written(&mut self) {
        if self.writes.as_mut().is_none_or(WriteWatch::was_written) {
            (self.on_at, self.newest) = (None, None);
        }
    }

    /// Converts the times to wall-clock time, as the clock is set now.
    fn accounting(&self, state: SwitchState) -> DelayAccounting {
        match (state, self.on_at) {
            (SwitchState::Off, _) => DelayAccounting::Off,
            (SwitchState::On, Some(on_at)) => {
                let (wall_clock, now) = (unix_time(), Instant::now());
                let convert = |at: Instant| wall_clock.saturating_sub(now.duration_since(at));
                let (off_at, on_at) = (self.off_at.map(convert), convert(on_at));
                DelayAccounting::On(Since::Between { off_at, on_at })
            }
            (SwitchState::On, None) | (SwitchState::Unknown, _) => DelayAccounting::Unknown,
        }
    }
}

impl WriteWatch {
    fn new(path: &str) -> Option<Self> {
        let watch = Inotify::init().and_then(|inotify| {
            inotify.watches().add(path, WatchMask::MODIFY)?;
            Ok(Self { inotify })
        });
        let warn = |error: &io::Error| {
            tracing::warn!(
                %error,
                "cannot watch kernel.task_delayacct for writes, so the meaning of zero delays is \
                 unknown; raise the sysctl fs.inotify.max_user_instances if it is exhausted"
            );
        };
        watch.inspect_err(warn).ok()
    }

    /// Returns whether the file was written since the last call.
    fn was_written(&mut self) -> bool {
        let mut events = [0; EVENT_BYTES];
        match self.inotify.read_events(&mut events) {
            Ok(mut events) => events.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Returns the setting of a kernel without the sysctl. A release older than the sysctl accounts delays
/// unless its command line says otherwise; a newer one was built without delay accounting.
fn boot_setting(command_line: &str, release: &str, config: Option<&str>) -> BootSetting {
    if command_line.split_whitespace().any(|parameter| parameter == "nodelayacct") {
        return BootSetting::Off;
    }
    match config.map(|config| config.lines().any(|line| line.trim() == CONFIGURED)) {
        Some(false) => return BootSetting::Off,
        Some(true) => return BootSetting::On,
        None => {}
    }
    match version(release) {
        Some(version) if version >= SYSCTL_SINCE => BootSetting::Off,
        _ => BootSetting::Unknown,
    }
}

/// Returns the first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn before_the_sysctl_the_command_line_and_the_build_configuration_decide() {
        let (old, new) = ("5.10.0-33-amd64", "6.1.0-9-amd64");
        let (with, without) =
            ("A=y\nCONFIG_TASK_DELAY_ACCT=y\n", "# CONFIG_TASK_DELAY_ACCT is not set\n");
        for (command_line, release, config, expected) in [
            ("quiet nodelayacct", old, Some(with), BootSetting::Off),
            ("quiet", old, Some(with), BootSetting::On),
            ("quiet", old, Some(without), BootSetting::Off),
            ("quiet", old, None, BootSetting::Unknown),
            ("quiet", new, None, BootSetting::Off),
            ("quiet", "unheard-of", None, BootSetting::Unknown),
            ("quiet xnodelayacct", old, None, BootSetting::Unknown),
        ] {
            let found = boot_setting(command_line, release, config);
            assert_eq!(found, expected, "{command_line}, {release}, {config:?}");
        }
    }

    /// Creates a switch that reads a temporary file instead of the sysctl.
    fn switch(file: &NamedTempFile) -> DelaySwitch {
        let writes = WriteWatch::new(file.path().to_str().unwrap());
        DelaySwitch {
            file: Some(file.reopen().unwrap()),
            at_boot: BootSetting::Unknown,
            reading_reused_for: Duration::ZERO,
            history: Mutex::new(SwitchHistory { writes, ..SwitchHistory::default() }),
        }
    }

    fn sysctl(digit: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        write(&file, digit);
        file
    }

    fn write(file: &NamedTempFile, digit: &str) {
        fs::write(file.path(), digit).unwrap();
    }

    fn on_at(switch: &DelaySwitch) -> Option<Instant> {
        assert!(matches!(switch.read(), DelayAccounting::On(Since::Between { .. })));
        switch.lock().on_at
    }

    #[test]
    fn a_reading_is_reused_until_a_write() {
        let file = sysctl("0");
        let switch = DelaySwitch { reading_reused_for: Duration::MAX, ..switch(&file) };
        let read_at = |switch: &DelaySwitch| switch.lock().newest.unwrap().at;
        assert_eq!(switch.read(), DelayAccounting::Off);
        let first = read_at(&switch);
        assert_eq!(switch.read(), DelayAccounting::Off);
        assert_eq!(read_at(&switch), first);
        write(&file, "1");
        assert!(matches!(switch.read(), DelayAccounting::On(_)));
        assert!(read_at(&switch) > first);
        let second = read_at(&switch);
        let switch = DelaySwitch { reading_reused_for: Duration::ZERO, ..switch };
        switch.read();
        assert!(read_at(&switch) > second);
    }

    #[test]
    fn accounting_is_on_since_the_first_reading_that_was_on() {
        let file = sysctl("0");
        let switch = switch(&file);
        assert_eq!(switch.read(), DelayAccounting::Off);
        let off_at = switch.lock().off_at;
        write(&file, "1");
        let first = on_at(&switch);
        assert_eq!(on_at(&switch), first);
        assert!(off_at.is_some() && first >= off_at);
        assert_eq!(switch.lock().off_at, off_at);
    }

    /// A task that started in between has no delay counters.
    #[test]
    fn turning_it_off_and_on_between_two_readings_is_noticed() {
        let file = sysctl("1");
        let switch = switch(&file);
        let first = on_at(&switch);
        write(&file, "0");
        write(&file, "1");
        let second = on_at(&switch);
        assert!(second > first);
        assert_eq!(on_at(&switch), second);
    }

    #[test]
    fn if_writes_are_not_observed_each_reading_is_the_first() {
        let mut history = SwitchHistory::default();
        history.note_on();
        let first = history.on_at;
        history.note_on();
        assert!(history.on_at > first);
    }

    #[test]
    fn a_release_starts_with_its_version() {
        assert_eq!(version("6.12.79-101.amzn2023"), Some((6, 12)));
        assert_eq!(version("5.14-rc1"), Some((5, 14)));
        assert_eq!(version(""), None);
    }
}
