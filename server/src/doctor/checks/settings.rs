//! Whether the agent would start with its settings.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::config::{Args, Config};
use crate::doctor::{Finding, Fix, Patient};
use crate::listen::{DEFAULT_FOLDER, ListenAddress};
use crate::security::NOBODY_COMES_IN;
use crate::taskstats::{Cpumask, Kernel};

const NAME: &str = "settings";

pub(super) fn check(patient: &Patient) -> Finding {
    if let Some(refusal) = refusal(patient) {
        return Finding::bad(NAME, refusal, Fix::SETTINGS);
    }
    if locks_out(&patient.args) {
        return Finding::warning(NAME, NOBODY_COMES_IN, Some(Fix::SETTINGS));
    }
    match closed_folder(&patient.args) {
        Some(finding) => Finding::warning(NAME, finding, Some(Fix::SOCKET_FOLDER)),
        None => Finding::good(NAME, "the agent can start with these flags and this environment"),
    }
}

/// Whether the rules let in nobody who can connect to the listeners of the flags.
fn locks_out(args: &Args) -> bool {
    let config = Config::try_from(args.clone());
    config.is_ok_and(|config| !config.policy.lets_in(&config.ways(&config.listen)))
}

/// Why the agent would not start, as it would say itself.
fn refusal(patient: &Patient) -> Option<String> {
    let config = match Config::try_from(patient.args.clone()) {
        Ok(config) => config,
        Err(error) => return Some(error.to_string()),
    };
    if let Err(error) = config.check_tls(config.listen.iter()) {
        return Some(error.to_string());
    }
    // Without the kernel, another check says what is wrong.
    let possible = patient.kernel.as_ref().ok()?.possible_cpus();
    let refused = Cpumask::parse(config.always_watch.as_deref()?, possible).err()?;
    Some(format!("--always-watch: {refused}"))
}

/// A folder in which this user cannot make a socket. A service manager may make it, or the socket.
fn closed_folder(args: &Args) -> Option<String> {
    let folders = args.listen.iter().filter_map(|address| match address {
        ListenAddress::Unix(path) => path.parent(),
        ListenAddress::Tcp { .. } => None,
    });
    let is_open = |folder: &Path| access(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    let mut said = folders.filter_map(|folder| {
        // The agent makes its own folder, if it may.
        let needed = match folder.parent() {
            Some(parent) if folder == Path::new(DEFAULT_FOLDER) && !folder.exists() => parent,
            _ => folder,
        };
        let why = if needed.is_dir() { "cannot be written by this user" } else { "does not exist" };
        (!is_open(needed)).then(|| {
            format!(
                "the folder {} {why}, so no socket can be made in {}",
                needed.display(),
                folder.display()
            )
        })
    });
    said.next()
}
