//! What is simulated: `sim:cpus=64,rate=1000,seed=7,version=14`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The most CPUs: the kernel's `CONFIG_NR_CPUS` of a large distribution is 8192, but one list of a
/// thousand sockets is stress enough.
const MAX_CPUS: u32 = 1024;
/// The most exits a second; more than a core can make.
const MAX_RATE: u32 = 10_000_000;
/// The most tasks that live at once.
const MAX_TASKS: u32 = 1_000_000;
/// The most threads that processes have on the average.
const MAX_THREADS: u32 = 64;
/// The structs that this program builds.
const VERSIONS: (u32, u32) = (8, 17);
/// Parts in a whole, for shares.
const MILLION: u32 = 1_000_000;
/// All receive buffers together: they lie in the process that simulates, and stay below this however
/// many CPUs there are.
const ALL_RECEIVE_BUFFERS: usize = 1 << 30;
/// The longest period of a family that vanishes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a simulated kernel is like.
///
/// ```
/// use taskstatsd::sim::Spec;
///
/// let spec: Spec = "cpus=64,rate=1000,overflow=0.01".parse()?;
/// assert_eq!((spec.cpus, spec.version), (64, 16));
/// assert_eq!(spec.to_string().parse(), Ok(spec));
/// # Ok::<(), taskstatsd::sim::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// CPUs, all of them online.
    pub cpus: u32,
    /// Exits a second on all CPUs together.
    pub rate: u32,
    /// What the invented workload follows from.
    pub seed: u64,
    /// The version of `struct taskstats`.
    pub version: u16,
    /// Tasks of the workload that live at once, about.
    pub tasks: u32,
    /// Threads that a process has on the average; 1 for none beside the first.
    pub threads: u32,
    /// Whether the kernel keeps delay accounts.
    pub delay_accounting: bool,
    /// What goes wrong.
    pub faults: Faults,
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Queries and registrations that fail with `ENOMEM`.
    pub errors: Share,
    /// Exit messages that do not fit into the receiver's room, and are cut short.
    pub truncate: Share,
    /// Exit messages that find a socket full that is not, as when the kernel has no memory.
    pub overflow: Share,
    /// Exits of a task that moves to another CPU meanwhile, and takes that one's sequence number.
    pub migrate: Share,
    /// Times in which the kernel knows no family TASKSTATS.
    pub vanish: Option<Vanish>,
}

/// How often something happens, in parts of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

/// When the family is gone: the last `length` of each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vanish {
    /// From one return to the next.
    pub period: Duration,
    /// How long it is gone.
    pub length: Duration,
}

/// Why a text describes no simulated kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A part is no `key=value`.
    #[error("`{0}` is no key=value; use such as cpus=64,rate=1000,seed=7,version=14")]
    NoPair(String),
    /// Nothing has this name.
    #[error(
        "`{0}` is no key; use cpus, rate, seed, version, tasks, threads, delayacct, errors, truncate, overflow, migrate or vanish"
    )]
    NoKey(String),
    /// A key stands twice.
    #[error("{0} is given twice")]
    Twice(String),
    /// A value is not one of those that are possible.
    #[error("{key}={value} is out of range; use {range}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        range: String,
    },
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            cpus: 4,
            rate: 100,
            seed: 1,
            version: 16,
            tasks: 200,
            threads: 2,
            delay_accounting: true,
            faults: Faults::default(),
        }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        let mut keys = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| SpecError::NoPair(part.to_owned()))?;
            if keys.contains(&key) {
                return Err(SpecError::Twice(key.to_owned()));
            }
            keys.push(key);
            spec.set(key, value)?;
        }
        Ok(spec)
    }
}

impl Spec {
    /// How much of the receive buffer that is asked for each CPU is granted, in bytes. As in the
    /// kernel, up to twice as much is used.
    #[must_use]
    pub fn granted(&self, receive_buffer: usize) -> usize {
        receive_buffer.min(ALL_RECEIVE_BUFFERS / 2 / self.cpus as usize)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SpecError> {
        match key {
            "cpus" => self.cpus = number("cpus", value, 1, MAX_CPUS)?,
            "rate" => self.rate = number("rate", value, 0, MAX_RATE)?,
            "seed" => self.seed = seed(value)?,
            "version" => {
                let version = number("version", value, VERSIONS.0, VERSIONS.1)?;
                self.version = u16::try_from(version).unwrap_or(u16::MAX);
            }
            "tasks" => self.tasks = number("tasks", value, 1, MAX_TASKS)?,
            "threads" => self.threads = number("threads", value, 1, MAX_THREADS)?,
            "delayacct" => self.delay_accounting = on_or_off(value)?,
            "errors" => self.faults.errors = share("errors", value)?,
            "truncate" => self.faults.truncate = share("truncate", value)?,
            "overflow" => self.faults.overflow = share("overflow", value)?,
            "migrate" => self.faults.migrate = share("migrate", value)?,
            "vanish" => self.faults.vanish = Some(vanish(value)?),
            _ => return Err(SpecError::NoKey(key.to_owned())),
        }
        Ok(())
    }
}

/// Prints every setting, and those faults that happen; [`Spec::from_str`] reads it back.
impl fmt::Display for Spec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, rate, seed, version, tasks, threads, .. } = self;
        let delayacct = if self.delay_accounting { "on" } else { "off" };
        write!(formatter, "cpus={cpus},rate={rate},seed={seed},version={version},")?;
        write!(formatter, "tasks={tasks},threads={threads},delayacct={delayacct}")?;
        let Faults { errors, truncate, overflow, migrate, vanish } = self.faults;
        for (key, share) in [
            ("errors", errors),
            ("truncate", truncate),
            ("overflow", overflow),
            ("migrate", migrate),
        ] {
            if share != Share::default() {
                write!(formatter, ",{key}={share}")?;
            }
        }
        if let Some(Vanish { period, length }) = vanish {
            let print = |time| humantime::format_duration(time).to_string().replace(' ', "");
            write!(formatter, ",vanish={}/{}", print(period), print(length))?;
        }
        Ok(())
    }
}

/// Prints a fraction of 1, without zeros at its end.
impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / MILLION, self.0 % MILLION);
        formatter.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn number(key: &'static str, value: &str, least: u32, most: u32) -> Result<u32, SpecError> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| out_of_range(key, value, &format!("{least} to {most}")))
}

fn seed(value: &str) -> Result<u64, SpecError> {
    value.parse().map_err(|_| out_of_range("seed", value, &format!("0 to {}", u64::MAX)))
}

fn on_or_off(value: &str) -> Result<bool, SpecError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(out_of_range("delayacct", value, "on or off")),
    }
}

/// Reads a decimal fraction digit by digit, so that what is printed is what was given.
fn share(key: &'static str, value: &str) -> Result<Share, SpecError> {
    const DIGITS: usize = 6;
    let refused = || out_of_range(key, value, "a share from 0 to 1, to a millionth, such as 0.01");
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > DIGITS || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(refused());
    }
    let whole: u32 = whole.parse().map_err(|_| refused())?;
    let parts: u32 = format!("{fraction:0<DIGITS$}").parse().map_err(|_| refused())?;
    let parts = whole.checked_mul(MILLION).and_then(|whole| whole.checked_add(parts));
    parts.filter(|parts| *parts <= MILLION).map(Share).ok_or_else(refused)
}

fn vanish(value: &str) -> Result<Vanish, SpecError> {
    let refused = || {
        out_of_range("vanish", value, "PERIOD/LENGTH, the length below the period, such as 20s/5s")
    };
    let (period, length) = value.split_once('/').ok_or_else(refused)?;
    let read = |text: &str| humantime::parse_duration(text).map_err(|_| refused());
    let (period, length) = (read(period)?, read(length)?);
    let possible = !length.is_zero() && length < period && period <= LONGEST;
    possible.then_some(Vanish { period, length }).ok_or_else(refused)
}

fn out_of_range(key: &'static str, value: &str, range: &str) -> SpecError {
    SpecError::OutOfRange { key, value: value.to_owned(), range: range.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, SpecError> {
        text.parse()
    }

    #[test]
    fn every_key_is_read_and_printed_again() {
        let text = "cpus=512,rate=1000000,seed=18446744073709551615,version=9,tasks=7,threads=64,\
                    delayacct=off,errors=1,truncate=0.5,overflow=0.000001,migrate=0.25,vanish=1m30s/5s";
        assert_eq!(read(text).unwrap().to_string(), text);
        assert_eq!(read("").unwrap(), Spec::default());
        let defaults = "cpus=4,rate=100,seed=1,version=16,tasks=200,threads=2,delayacct=on";
        assert_eq!(Spec::default().to_string(), defaults);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, error) in [
            ("cpus=0", "cpus=0 is out of range; use 1 to 1024"),
            ("cpus=1025", "cpus=1025 is out of range; use 1 to 1024"),
            ("rate=-1", "rate=-1 is out of range; use 0 to 10000000"),
            ("version=7", "version=7 is out of range; use 8 to 17"),
            ("threads=x", "threads=x is out of range; use 1 to 64"),
            ("delayacct=1", "delayacct=1 is out of range; use on or off"),
            ("cpus", "`cpus` is no key=value; use such as cpus=64,rate=1000,seed=7,version=14"),
            ("cpus=2,cpus=3", "cpus is given twice"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error);
        }
        assert!(read("cups=2").unwrap_err().to_string().contains("`cups` is no key; use cpus"));
    }

    #[test]
    fn shares_and_times_that_cannot_be_are_refused() {
        for text in [
            "errors=1.1",
            "errors=-0.5",
            "errors=0.0000001",
            "errors=.5",
            "errors=1e-3",
            "vanish=5s",
            "vanish=5s/5s",
            "vanish=5s/0s",
            "vanish=0s/0s",
            "vanish=2days/1s",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
