//! The specification of a simulated kernel: `sim:cpus=64,rate=1000,seed=7,version=14`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The upper limit of CPUs. Large distributions build kernels for 8192, but a thousand sockets of
/// one listener are a sufficient test.
const MAX_CPUS: u32 = 1024;
/// The upper limit of exits a second, which is more than a core can simulate.
const MAX_RATE: u32 = 10_000_000;
/// The upper limit of live tasks.
const MAX_TASKS: u32 = 1_000_000;
/// The upper limit of the mean number of threads in a process.
const MAX_THREADS: u32 = 64;
/// The versions of `struct taskstats` that can be encoded.
const VERSIONS: (u32, u32) = (8, 17);
/// The number of parts in a whole [`Share`].
const MILLION: u32 = 1_000_000;
/// The limit of all receive buffers together, which this process allocates.
const ALL_RECEIVE_BUFFERS: usize = 1 << 30;
/// The longest period of a vanishing family.
const MAX_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// The properties of a simulated kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// CPUs, all of which are online.
    pub(crate) cpus: u32,
    /// Exits a second, on all CPUs together.
    pub(crate) rate: u32,
    /// The seed of the workload.
    pub(crate) seed: u64,
    /// The version of `struct taskstats`.
    pub(crate) version: u16,
    /// The approximate number of live tasks of the workload.
    pub(crate) tasks: u32,
    /// The mean number of threads in a process; 1 means single-threaded.
    pub(crate) threads: u32,
    /// Accounts delays, if set.
    pub(crate) delay_accounting: bool,
    /// Injected faults.
    pub(crate) faults: Faults,
}

/// Faults that are injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// The share of queries and registrations that fail with `ENOMEM`.
    pub(crate) errors: Share,
    /// The share of exit messages that do not fit into the receiver's slots and are truncated.
    pub(crate) truncate: Share,
    /// The share of exit messages for which the receive queue is treated as full, as if the kernel
    /// had no memory.
    pub(crate) overflow: Share,
    /// The share of exits whose task migrates to another CPU meanwhile, and uses a sequence number
    /// of that CPU.
    pub(crate) migrate: Share,
    /// Times at which the kernel lacks the family TASKSTATS.
    pub(crate) vanish: Option<Vanish>,
}

/// A probability, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u32);

/// Times without the family: the last `length` of each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vanish {
    /// The time from one return of the family to the next.
    pub(crate) period: Duration,
    /// The time without the family.
    pub(crate) length: Duration,
}

/// The error of parsing a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An item is not `key=value`.
    #[error("`{0}` is not KEY=VALUE; for example, use cpus=64,rate=1000,seed=7,version=14")]
    NotKeyValue(String),
    /// The key is unknown.
    #[error(
        "`{0}` is not a key; use cpus, rate, seed, version, tasks, threads, delayacct, errors, truncate, overflow, migrate or vanish"
    )]
    UnknownKey(String),
    /// A key is repeated.
    #[error("{0} is given twice")]
    Repeated(String),
    /// A value is out of range.
    #[error("{key}={value} is out of range; use {range}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The valid range.
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
                part.split_once('=').ok_or_else(|| SpecError::NotKeyValue(part.to_owned()))?;
            if keys.contains(&key) {
                return Err(SpecError::Repeated(key.to_owned()));
            }
            keys.push(key);
            spec.set(key, value)?;
        }
        Ok(spec)
    }
}

impl Spec {
    /// Returns the granted size of each CPU's receive buffer, in bytes. As in the kernel, a queue
    /// can use twice as much.
    #[must_use]
    pub(crate) fn granted(&self, receive_buffer: usize) -> usize {
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
            _ => return Err(SpecError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }
}

/// Prints every setting, and the faults that are enabled; [`Spec::from_str`] parses it.
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

/// Prints a fraction of 1, without trailing zeros.
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

/// Parses a decimal fraction digit by digit, so that printing it gives the same text.
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
    let possible = !length.is_zero() && length < period && period <= MAX_PERIOD;
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
    fn every_key_is_parsed_and_printed() {
        let text = "cpus=512,rate=1000000,seed=18446744073709551615,version=9,tasks=7,threads=64,\
                    delayacct=off,errors=1,truncate=0.5,overflow=0.000001,migrate=0.25,vanish=1m30s/5s";
        assert_eq!(read(text).unwrap().to_string(), text);
        assert_eq!(read("").unwrap(), Spec::default());
        let defaults = "cpus=4,rate=100,seed=1,version=16,tasks=200,threads=2,delayacct=on";
        assert_eq!(Spec::default().to_string(), defaults);
    }

    #[test]
    fn errors_name_the_item_and_the_valid_values() {
        for (text, error) in [
            ("cpus=0", "cpus=0 is out of range; use 1 to 1024"),
            ("cpus=1025", "cpus=1025 is out of range; use 1 to 1024"),
            ("rate=-1", "rate=-1 is out of range; use 0 to 10000000"),
            ("version=7", "version=7 is out of range; use 8 to 17"),
            ("threads=x", "threads=x is out of range; use 1 to 64"),
            ("delayacct=1", "delayacct=1 is out of range; use on or off"),
            (
                "cpus",
                "`cpus` is not KEY=VALUE; for example, use cpus=64,rate=1000,seed=7,version=14",
            ),
            ("cpus=2,cpus=3", "cpus is given twice"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error);
        }
        assert!(read("cups=2").unwrap_err().to_string().contains("`cups` is not a key; use cpus"));
    }

    #[test]
    fn invalid_shares_and_times_are_refused() {
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
