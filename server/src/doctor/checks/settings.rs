//! Checks whether the agent would start with its settings.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::advice::Cause;
use crate::config::{Args, Config};
use crate::doctor::{Context, Finding};
use crate::listen::{DEFAULT_DIRECTORY, ListenAddress};
use crate::taskstats::{Cpumask, Kernel};

const NAME: &str = "settings";
/// The beginning of each warning about the listeners.
const UNSEEN: &str =
    "unless a service manager passes sockets, which stand for --listen and are not seen here";

pub(super) fn check(context: &Context) -> Finding {
    let config = match Config::try_from(context.args.clone()) {
        Ok(config) => config,
        Err(error) => return Finding::bad(NAME, error.to_string(), Cause::Settings),
    };
    if let Some(refusal) = refusal(context, &config) {
        return Finding::bad(NAME, refusal, Cause::Settings);
    }
    if let Some(warning) = listener_warning(&config) {
        return warning;
    }
    match unwritable_directory(&context.args) {
        Some(finding) => Finding::warning(NAME, finding, Some(Cause::SocketDirectory)),
        None => Finding::good(NAME, "the agent can start with these flags and this environment"),
    }
}

/// Returns a warning about the listeners of the flags. A service manager may pass others, which only the agent
/// receives.
fn listener_warning(config: &Config) -> Option<Finding> {
    if let Err(error) = config.check_tls(config.listen.iter()) {
        let finding = format!("{UNSEEN}: {error}");
        return Some(Finding::warning(NAME, finding, Some(Cause::TlsWithoutListener)));
    }
    let warnings = config.policy.warnings(&config.transports(&config.listen));
    let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let finding = || format!("{UNSEEN}: {}", said.join("; "));
    (!said.is_empty()).then(|| Finding::warning(NAME, finding(), Some(Cause::Settings)))
}

/// Returns the error with which the agent would not start, whatever a service manager passes.
fn refusal(context: &Context, config: &Config) -> Option<String> {
    if let Err(error) = config.check_open_tls() {
        return Some(error.to_string());
    }
    // If the kernel cannot be queried, another check reports it.
    let possible = context.kernel.as_ref().ok()?.possible_cpus();
    let refused = Cpumask::parse(config.always_watch.as_deref()?, possible).err()?;
    Some(format!("--always-watch: {refused}"))
}

/// Returns a directory in which this user cannot create a socket. A service manager may create it, or the
/// socket.
fn unwritable_directory(args: &Args) -> Option<String> {
    let directories = args.listen.iter().filter_map(|address| match address {
        ListenAddress::Unix(path) => path.parent(),
        ListenAddress::Tcp { .. } => None,
    });
    let is_open =
        |directory: &Path| access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    let mut found = directories.filter_map(|directory| {
        // The agent creates its own directory, if it may.
        let needed = match directory.parent() {
            Some(parent) if directory == Path::new(DEFAULT_DIRECTORY) && !directory.exists() => {
                parent
            }
            _ => directory,
        };
        let why = if needed.is_dir() { "cannot be written by this user" } else { "does not exist" };
        (!is_open(needed)).then(|| {
            format!(
                "the directory {} {why}, so no socket can be created in {}",
                needed.display(),
                directory.display()
            )
        })
    });
    found.next()
}
