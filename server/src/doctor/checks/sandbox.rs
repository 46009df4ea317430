//! What an agent that is started here and now would give up.

use crate::config::Sandbox;
use crate::doctor::{Finding, Fix, Patient};
use crate::sandbox::{self, Prospect};

const NAME: &str = "sandbox";

pub(super) fn check(patient: &Patient) -> Finding {
    // Contradictions are what the check of the settings finds.
    let Ok(Sandbox::On(wanted)) = Sandbox::try_from(patient.args.sandbox.clone()) else {
        return Finding::warning(NAME, "--no-sandbox: no rights are given up", Some(Fix::SANDBOX));
    };
    match sandbox::prospect(wanted.as_ref()) {
        Err(error) => Finding::bad(NAME, error.to_string(), Fix::SETTINGS),
        Ok(prospect @ Prospect { landlock: 0, .. }) => Finding::warning(
            NAME,
            format!("{prospect}; this kernel has no landlock, so files and ports stay open"),
            Some(Fix::LANDLOCK),
        ),
        Ok(prospect) => Finding::good(NAME, prospect.to_string()),
    }
}
