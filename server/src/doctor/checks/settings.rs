//! Whether the agent would start with its settings.

use crate::config::Config;
use crate::doctor::{Finding, Fix, Patient};

const NAME: &str = "settings";

pub(super) fn check(patient: &Patient) -> Finding {
    match Config::try_from(patient.args.clone()) {
        Ok(_) => Finding::good(NAME, "the agent can start with these flags and this environment"),
        Err(error) => Finding::bad(NAME, error.to_string(), Fix::SETTINGS),
    }
}
