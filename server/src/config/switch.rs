//! Flags without a value, whose variables have one.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Values that set a flag, in any case.
const ON: [&str; 4] = ["1", "yes", "on", "true"];
/// Values that leave a flag unset, in any case.
const OFF: [&str; 4] = ["0", "no", "off", "false"];

/// Parses the variable of a flag without a value. Its errors name the variable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch;

impl TypedValueParser for Switch {
    type Value = bool;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<bool, Error> {
        let matches = |words: [&str; 4]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        if matches(ON) || matches(OFF) {
            return Ok(matches(ON));
        }
        let variable = arg.and_then(Arg::get_env).unwrap_or_default().display();
        let message = format!(
            "the variable {variable} is `{}`; use 1, yes, on or true, or 0, no, off or false\n",
            value.display()
        );
        Err(Error::raw(ErrorKind::InvalidValue, message).with_cmd(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<bool, String> {
        let arg = Arg::new("insecure").env("SWITCH");
        let value = Switch.parse_ref(&Command::new("agent"), Some(&arg), OsStr::new(text));
        value.map_err(|error| error.to_string())
    }

    #[test]
    fn usual_spellings_are_accepted() {
        for text in ["1", "yes", "on", "true", "TRUE", "Yes"] {
            assert_eq!(parsed(text), Ok(true), "{text}");
        }
        for text in ["0", "no", "off", "false", "Off"] {
            assert_eq!(parsed(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_variable() {
        for text in ["maybe", "2", "y"] {
            let message = parsed(text).unwrap_err();
            assert!(message.contains(&format!("the variable SWITCH is `{text}`")), "{message}");
        }
    }
}
