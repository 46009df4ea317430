//! Whether the agent would start with its settings.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::advice::Cause;
use crate::config::{Args, Config};
use crate::doctor::{Context, Finding};
use crate::listen::{DEFAULT_DIRECTORY, ListenAddress};
use crate::taskstats::{Cpumask, Kernel};

const NAME: &str = "settings";
/// What is said with each doubt about the listeners.
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
    if let Some(doubt) = doubt(&config) {
        return doubt;
    }
    match closed_folder(&context.args) {
        Some(finding) => Finding::warning(NAME, finding, Some(Cause::SocketDirectory)),
        None => Finding::good(NAME, "the agent can start with these flags and this environment"),
    }
}

/// What is wrong with the listeners of the flags. It is right where a service manager passes others, which
/// cannot be seen from here: only the agent gets them.
fn doubt(config: &Config) -> Option<Finding> {
    if let Err(error) = config.check_tls(config.listen.iter()) {
        let finding = format!("{UNSEEN}: {error}");
        return Some(Finding::warning(NAME, finding, Some(Cause::TlsWithoutListener)));
    }
    let warnings = config.policy.warnings(&config.transports(&config.listen));
    let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let finding = || format!("{UNSEEN}: {}", said.join("; "));
    (!said.is_empty()).then(|| Finding::warning(NAME, finding(), Some(Cause::Settings)))
}

/// Why the agent would not start, whatever a service manager passes, as it would say itself.
fn refusal(context: &Context, config: &Config) -> Option<String> {
    if let Err(error) = config.check_open_tls() {
        return Some(error.to_string());
    }
    // Without the kernel, another check says what is wrong.
    let possible = context.kernel.as_ref().ok()?.possible_cpus();
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
            Some(parent) if folder == Path::new(DEFAULT_DIRECTORY) && !folder.exists() => parent,
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
