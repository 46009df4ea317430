//! Environment variables that hold flags.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Returns the command with blank variables treated as unset, and with the white space around the
/// values of the others removed.
///
/// Unit files and manifests often define a variable that they have no value for.
pub(crate) fn normalize(command: Command) -> Command {
    command.mut_args(|arg| normalize_arg(arg, |name| env::var_os(name)))
}

fn normalize_arg(arg: Arg, read: impl Fn(&OsStr) -> Option<OsString>) -> Arg {
    let Some(value) = arg.get_env().and_then(read) else { return arg };
    match value.to_str().map(str::trim) {
        Some("") => arg.env(None),
        Some(trimmed) if trimmed != value => {
            let trimmed = trimmed.to_owned();
            arg.env(None).default_value(trimmed)
        }
        Some(_) | None => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the value that the flag has with the variable set to `value`.
    fn flag_with(value: &str) -> String {
        let arg = Arg::new("target").long("target").env("TARGET").default_value("default");
        let arg = normalize_arg(arg, |_| Some(value.into()));
        let matches = Command::new("test").arg(arg).get_matches_from(["test"]);
        matches.get_one::<String>("target").unwrap().clone()
    }

    #[test]
    fn a_blank_variable_is_unset() {
        for value in ["", " ", "\t\n"] {
            assert_eq!(flag_with(value), "default", "{value:?}");
        }
    }

    #[test]
    fn white_space_around_a_value_is_removed() {
        assert_eq!(flag_with(" tcp://node7\n"), "tcp://node7");
    }
}
