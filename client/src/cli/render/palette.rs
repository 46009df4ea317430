//! Colours of text output.

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

/// The weight of a piece of text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    /// Not coloured.
    Plain,
    /// A heading.
    Heading,
    /// An exit code other than 0.
    Notable,
    /// A loss, or a death by a signal.
    Alarming,
}

/// Colours text, or returns it unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    is_colored: bool,
}

impl Palette {
    /// Returns the palette of standard output: `auto` colours a terminal unless `NO_COLOR` is set.
    pub(crate) fn for_stdout(choice: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::decide(choice, no_color, std::io::stdout().is_terminal())
    }

    fn decide(choice: ColorChoice, no_color: bool, terminal: bool) -> Self {
        let is_colored = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self { is_colored }
    }

    /// Returns a palette without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { is_colored: false }
    }

    /// Colours a text, which is padded before: an escape sequence has no width on the screen.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let start = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Heading => "\x1b[1m",
            Tone::Notable => "\x1b[33m",
            Tone::Alarming => "\x1b[1;31m",
        };
        if self.is_colored { format!("{start}{text}{RESET}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_no_color_is_set() {
        let table = [
            (ColorChoice::Auto, false, true, true),
            (ColorChoice::Auto, true, true, false),
            (ColorChoice::Auto, false, false, false),
            (ColorChoice::Always, true, false, true),
            (ColorChoice::Never, false, true, false),
        ];
        for (choice, no_color, terminal, is_colored) in table {
            assert_eq!(Palette::decide(choice, no_color, terminal).is_colored, is_colored);
        }
    }

    #[test]
    fn a_colour_ends_with_its_text() {
        let palette = Palette { is_colored: true };
        assert_eq!(palette.paint(Tone::Heading, "x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Palette { is_colored: false }.paint(Tone::Heading, "x"), "x");
    }
}
