//! Lines of fixed columns.
//!
//! A column is as wide as its usual values, so that the rows of a stream align although no row waits
//! for the next one.

use super::palette::{Palette, Tone};
use super::text::{truncate, width};

/// Stands for a value that the kernel did not report.
pub(crate) const ABSENT: &str = "-";

/// One column. The last one of a line is not padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) width: usize,
    pub(crate) align: Align,
}

/// The side of a column that its text is aligned to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Align {
    Left,
    Right,
}

/// The content of one column in one line.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    /// Returns a cell of plain text.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// Returns a cell for a value that can be absent.
    pub(crate) fn optional<T: ToString>(value: Option<T>) -> Self {
        Self::plain(value.map_or_else(|| ABSENT.to_owned(), |value| value.to_string()))
    }
}

/// Returns the line of titles.
pub(crate) fn header(columns: &[Column], palette: Palette, limit: Option<usize>) -> String {
    let cells: Vec<_> = columns.iter().map(|column| Cell::plain(column.title)).collect();
    let text = line(columns, &cells, palette, limit);
    palette.paint(Tone::Heading, text.trim_end_matches('\n')) + "\n"
}

/// Returns one line of at most `limit` terminal columns, with its line end.
///
/// Text that is wider than its column pushes the rest to the right.
pub(crate) fn line(
    columns: &[Column],
    cells: &[Cell],
    palette: Palette,
    limit: Option<usize>,
) -> String {
    let last = columns.len().saturating_sub(1);
    let mut left = limit.unwrap_or(usize::MAX);
    let mut text = String::new();
    for (at, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let padded = padded(column, &cell.text, at == last);
        let cut = truncate(&padded, left);
        left -= width(&cut).min(left);
        text.push_str(&palette.paint(cell.tone, &cut));
    }
    text.push('\n');
    text
}

fn padded(column: &Column, text: &str, is_last: bool) -> String {
    let padding = " ".repeat(column.width.saturating_sub(width(text)));
    let gap = if is_last { "" } else { " " };
    match column.align {
        Align::Left if is_last => text.to_owned(),
        Align::Left => format!("{text}{padding}{gap}"),
        Align::Right => format!("{padding}{text}{gap}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "A", width: 3, align: Align::Right },
        Column { title: "B", width: 5, align: Align::Left },
        Column { title: "C", width: 0, align: Align::Left },
    ];

    fn row(cells: [&str; 3], limit: Option<usize>) -> String {
        line(&COLUMNS, &cells.map(Cell::plain), Palette::plain(), limit)
    }

    #[test]
    fn columns_are_padded_by_their_width_on_the_terminal() {
        assert_eq!(row(["1", "日本", "end"], None), "  1 日本  end\n");
        assert_eq!(row(["1234", "b", "end"], None), "1234 b     end\n");
    }

    #[test]
    fn a_line_is_cut_to_the_limit() {
        assert_eq!(row(["1", "b", "a long end"], Some(14)), "  1 b     a l…\n");
        assert_eq!(row(["1", "b", "end"], Some(5)), "  1 …\n");
        assert_eq!(header(&COLUMNS, Palette::plain(), Some(11)), "  A B     C\n");
    }
}
