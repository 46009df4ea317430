//! The results, in lines that a shell can split and a serial port can transmit.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Error, Result};
use taskstats_tests::fields::Comparison;

use crate::steps::Tried;

/// The results of a test.
#[derive(Debug)]
pub(crate) struct Report {
    /// `uname -r`.
    pub(crate) release: String,
    /// The version of the kernel's struct.
    pub(crate) version: u32,
    /// Its size.
    pub(crate) struct_bytes: usize,
    /// The agent's report on delay accounting.
    pub(crate) delay_accounting: &'static str,
    /// Exits that were compared.
    pub(crate) exits: usize,
    /// Those with a group's record.
    pub(crate) groups: usize,
    /// The number of compared running tasks.
    pub(crate) live: usize,
    /// The fields that were compared.
    pub(crate) comparison: Comparison,
    /// A small capture of this kernel.
    pub(crate) capture: Vec<u8>,
    /// The result of setting the clock, where that is allowed.
    pub(crate) clock: Option<Tried>,
}

impl Report {
    /// Writes one line with the figures, one with the capture, and one that reports that the test
    /// passed.
    pub(crate) fn write(&self, output: &mut impl Write) -> Result<()> {
        let absent = self.comparison.absent.iter().copied().collect::<Vec<_>>().join(", ");
        let absent = if absent.is_empty() { "nothing" } else { &absent };
        let Self { release, version, struct_bytes, delay_accounting, .. } = self;
        let Self { exits, groups, live, comparison, .. } = self;
        let clock = self.clock.map_or_else(
            || "not set|-|-".to_owned(),
            |Tried { steps, sent, lost }| format!("set {steps} times|{sent}|{lost}"),
        );
        writeln!(
            output,
            "row|{release}|v{version}|{struct_bytes}|{delay_accounting}|{exits}|{groups}|{live}|{fields}|{absent}|{clock}",
            fields = comparison.fields,
        )?;
        writeln!(output, "capture|v{version}|{}", hexadecimal(&self.capture)?)?;
        writeln!(output, "passed")?;
        Ok(output.flush()?)
    }
}

/// Writes why there is no report.
pub(crate) fn write_failure(error: &Error, output: &mut impl Write) -> Result<()> {
    let reason = format!("{error:#}").replace('\n', "; ");
    writeln!(output, "failed|{reason}")?;
    Ok(output.flush()?)
}

fn hexadecimal(bytes: &[u8]) -> Result<String> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
