//! Values of flags without a value, which their variables have all the same.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Reads `true` or `false`, and names the variable where something else is there.
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
        if let Some(parsed) = value.to_str().and_then(|text| text.parse().ok()) {
            return Ok(parsed);
        }
        let variable = arg.and_then(Arg::get_env).unwrap_or_default().display();
        let said =
            format!("the variable {variable} is `{}`; set it to true or false\n", value.display());
        Err(Error::raw(ErrorKind::InvalidValue, said).with_cmd(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_switch_names_its_variable() {
        let arg = Arg::new("insecure").env("SWITCH");
        let parsed = |text: &str| {
            let value = Switch.parse_ref(&Command::new("agent"), Some(&arg), OsStr::new(text));
            value.map_err(|error| error.to_string())
        };
        assert_eq!((parsed("true"), parsed("false")), (Ok(true), Ok(false)));
        for text in ["yes", "1", ""] {
            let said = parsed(text).unwrap_err();
            assert!(
                said.contains(&format!("the variable SWITCH is `{text}`; set it to")),
                "{said}"
            );
        }
    }
}
