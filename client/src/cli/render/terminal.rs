//! The terminal that standard output is, if it is one.

use std::io::{self, IsTerminal};

use terminal_size::{Height, Width, terminal_size_of};

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TerminalSize {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Returns the size of the terminal that standard output is.
pub(crate) fn stdout_size() -> Option<TerminalSize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let (Width(columns), Height(rows)) = terminal_size_of(stdout)?;
    Some(TerminalSize { columns: columns.into(), rows: rows.into() })
}
