//! The variables that set flags, in the forms that people write.
#![expect(unsafe_code, reason = "changing the environment is safe before there is another thread")]

use std::env;
use std::ffi::OsString;

use clap::{Arg, Command};

/// Flags whose values have items separated by commas, although clap does not split them.
const COMMA_LISTS: [&str; 5] = ["allow", "always_watch", "cpus", "kernel", "log"];

/// A new value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    variable: OsString,
    /// The new value; `None` if the variable counts as unset.
    value: Option<String>,
}

/// Rewrites the variables of all flags of `command` and its subcommands before clap reads them: blanks
/// around a value are removed, and so are empty items of a list; a variable without a value counts as
/// unset. Only the main thread may exist; call it first in the process.
pub(super) fn normalize(command: &Command) {
    for Change { variable, value } in changes(command, &|variable| env::var_os(variable)) {
        // SAFETY: `run` calls this before anything starts a thread, so no other thread reads or
        // writes the environment.
        unsafe {
            match value {
                Some(value) => env::set_var(variable, value),
                None => env::remove_var(variable),
            }
        }
    }
}

/// Returns the changes to the variables of a command, as `lookup` knows them.
fn changes(command: &Command, lookup: &dyn Fn(&OsString) -> Option<OsString>) -> Vec<Change> {
    let own = command.get_arguments().filter_map(|flag| {
        let variable = flag.get_env()?.to_owned();
        let before = lookup(&variable)?.into_string().ok()?;
        let value = Some(normalized(flag, &before)).filter(|value| !value.is_empty());
        (value.as_ref() != Some(&before)).then_some(Change { variable, value })
    });
    let nested = command.get_subcommands().flat_map(|command| changes(command, lookup));
    own.chain(nested).collect()
}

fn normalized(flag: &Arg, value: &str) -> String {
    let is_comma_list = COMMA_LISTS.contains(&flag.get_id().as_str());
    let item = |text: &str| match is_comma_list {
        true => without_empty_items(text, ',', str::to_owned),
        false => text.trim().to_owned(),
    };
    match flag.get_value_delimiter() {
        Some(delimiter) => without_empty_items(value, delimiter, item),
        None => item(value),
    }
}

/// Returns the items of a list that are not empty, each of them trimmed and mapped by `item`.
fn without_empty_items(list: &str, delimiter: char, item: impl Fn(&str) -> String) -> String {
    let items = list.split(delimiter).map(|text| item(text.trim())).filter(|item| !item.is_empty());
    items.collect::<Vec<_>>().join(&delimiter.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::config::Args;

    fn changed(variable: &str, value: &str) -> Vec<Option<String>> {
        let lookup = |name: &OsString| (name == variable).then(|| value.into());
        changes(&Args::command(), &lookup).into_iter().map(|change| change.value).collect()
    }

    #[test]
    fn blanks_and_empty_items_are_removed() {
        for (variable, value, changed_to) in [
            ("TASKSTATSD_LISTEN", " unix:///a , unix:///b,, ", "unix:///a,unix:///b"),
            ("TASKSTATSD_REDACT", "comm, io,", "comm,io"),
            ("TASKSTATSD_ALLOW", "; uid:0=query ;", "uid:0=query"),
            ("TASKSTATSD_MAX_CALLS", " 7\n", "7"),
            ("TASKSTATSD_CAPTURE_PID", "1, 2,", "1,2"),
            ("TASKSTATSD_ALLOW", "uid:0=query, node,; uid:1=watch", "uid:0=query,node;uid:1=watch"),
            ("TASKSTATSD_ALWAYS_WATCH", "0-3, 8,", "0-3,8"),
            ("TASKSTATSD_KERNEL", "sim:cpus=2, rate=7,", "sim:cpus=2,rate=7"),
        ] {
            assert_eq!(changed(variable, value), [Some(changed_to.to_owned())], "{variable}");
        }
        assert_eq!(changed("TASKSTATSD_LISTEN", "unix:///a,unix:///b"), []);
    }

    /// No flag is exempt, so every one of them is tried.
    #[test]
    fn an_empty_variable_is_unset() {
        let command = Args::command();
        let commands = command.get_subcommands().chain([&command]);
        let variables: Vec<_> = commands
            .flat_map(Command::get_arguments)
            .filter_map(|flag| flag.get_env()?.to_str())
            .collect();
        assert!(variables.len() > 30, "{variables:?}");
        for variable in variables {
            for empty in ["", " ", "\t\n"] {
                assert_eq!(changed(variable, empty), [None], "{variable}");
            }
        }
        assert_eq!(changed("TASKSTATSD_LISTEN", ", ,"), [None]);
    }

    #[test]
    fn other_variables_are_left_alone() {
        assert_eq!(changed("PATH", ""), []);
        assert!(Args::try_parse_from(["taskstatsd"]).is_ok());
    }
}
