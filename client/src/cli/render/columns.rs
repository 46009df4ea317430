//! Lines of fixed columns: wide enough for what usually stands in them, so that a stream aligns
//! without being held back.

use super::palette::{Palette, Tone};

/// What stands for what the kernel did not report.
pub(crate) const ABSENT: &str = "-";

/// One column. The last one of a line is not padded.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) width: usize,
    pub(crate) side: Side,
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Left,
    Right,
}

/// What stands in one column of one line.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    /// A cell of plain text.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A cell of what may be absent.
    pub(crate) fn optional<T: ToString>(value: Option<T>) -> Self {
        Self::plain(value.map_or_else(|| ABSENT.to_owned(), |value| value.to_string()))
    }
}

/// The line of titles.
pub(crate) fn header(columns: &[Column], palette: Palette) -> String {
    let cells: Vec<_> = columns.iter().map(|column| Cell::plain(column.title)).collect();
    let text = line(columns, &cells, palette);
    palette.paint(Tone::Heading, text.trim_end_matches('\n')) + "\n"
}

/// One line, with its line end. Text wider than its column pushes the rest to the right.
pub(crate) fn line(columns: &[Column], cells: &[Cell], palette: Palette) -> String {
    let last = columns.len().saturating_sub(1);
    let mut text = String::new();
    for (at, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let width = column.width;
        let padded = match column.side {
            Side::Left if at == last => cell.text.clone(),
            Side::Left => format!("{:<width$} ", cell.text),
            Side::Right => format!("{:>width$} ", cell.text),
        };
        text.push_str(&palette.paint(cell.tone, &padded));
    }
    text.push('\n');
    text
}
