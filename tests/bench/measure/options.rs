//! The cost of what an option adds to an exit.

use anyhow::Result;

use super::{Bench, rotated};
use crate::host::Host;
use crate::number::{float, microseconds};
use crate::report::Report;
use crate::session::{Load, Session};

/// The name in figures.
pub(super) const NAME: &str = "options";

/// The flags of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Default,
    Unattributed,
    Redacted,
}

const VARIANTS: [Variant; 3] = [Variant::Default, Variant::Unattributed, Variant::Redacted];

impl Variant {
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Unattributed => &["--attribution", "off"],
            Self::Redacted => &["--redact", "comm,io"],
        }
    }

    const fn cost(self) -> &'static str {
        match self {
            Self::Default => "CPU an exit, default options",
            Self::Unattributed => "CPU an exit, --attribution off",
            Self::Redacted => "CPU an exit, --redact comm,io",
        }
    }

    const fn workload(self) -> &'static str {
        match self {
            Self::Default => "workload, default options",
            Self::Unattributed => "workload, --attribution off",
            Self::Redacted => "workload, --redact comm,io",
        }
    }
}

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    for variant in rotated(&VARIANTS, round) {
        let agent = Host::start(bench.agent(), variant.flags())?;
        let session = Session::watching(agent, 1, false)?;
        let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
        let observed = session.measure(load, |_| Ok(()))?;
        let each = microseconds(observed.cpu) / float(observed.made.exits);
        report.record(NAME, variant.cost(), "µs", each);
        report.record(
            NAME,
            variant.workload(),
            "1/s",
            float(observed.made.exits) / observed.made.seconds,
        );
    }
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, Variant::Default.cost(), Variant::Unattributed.cost())?;
    report.relate(NAME, Variant::Default.workload(), Variant::Unattributed.workload())?;
    report.relate(NAME, Variant::Redacted.cost(), Variant::Default.cost())
}
