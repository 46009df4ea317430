//! Colours, where there are any.

use std::io::IsTerminal;

use clap::ValueEnum;

const RESET: &str = "\x1b[0m";

/// When output is coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What a piece of text is, for the eye.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Heading,
    /// Worth a style: an exit code other than 0.
    Notable,
    /// Worth an alarm: a loss, a death by signal.
    Alarming,
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    colored: bool,
}

impl Palette {
    /// Decides for standard output: `auto` colours a terminal unless `NO_COLOR` is set.
    pub(crate) fn for_stdout(choice: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::decide(choice, no_color, std::io::stdout().is_terminal())
    }

    fn decide(choice: ColorChoice, no_color: bool, terminal: bool) -> Self {
        let colored = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self { colored }
    }

    /// Paints nothing.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colored: false }
    }

    /// Paints a text that is padded already: escape sequences take no room on the screen.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let start = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Heading => "\x1b[1m",
            Tone::Notable => "\x1b[33m",
            Tone::Alarming => "\x1b[1;31m",
        };
        if self.colored { format!("{start}{text}{RESET}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let table = [
            (ColorChoice::Auto, false, true, true),
            (ColorChoice::Auto, true, true, false),
            (ColorChoice::Auto, false, false, false),
            (ColorChoice::Always, true, false, true),
            (ColorChoice::Never, false, true, false),
        ];
        for (choice, no_color, terminal, colored) in table {
            assert_eq!(Palette::decide(choice, no_color, terminal).colored, colored);
        }
    }

    #[test]
    fn paint_leaves_no_colour_behind() {
        let palette = Palette { colored: true };
        assert_eq!(palette.paint(Tone::Heading, "x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Palette { colored: false }.paint(Tone::Heading, "x"), "x");
    }
}
