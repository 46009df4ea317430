//! A table of exits that fits the terminal.

use super::columns::{Cell, Column, header, line};
use super::exit_columns::{DEFAULT, DROP_ORDER, ExitColumn};
use super::exited::Exited;
use super::style::Style;
use super::terminal::TerminalSize;
use crate::{ExitEvent, Workload};

/// Lines of a screen that are not rows: the header, and the line of the cursor.
const OTHER_LINES: usize = 2;

/// Prints exits as rows.
///
/// On a terminal the header is repeated once a screen, and a row never exceeds the width: default
/// columns are dropped, the least important ones first, and the rest of a long row is cut.
#[derive(Debug)]
pub(crate) struct ExitTable {
    /// The columns that the user chose; `None` for those that fit.
    chosen: Option<Vec<ExitColumn>>,
    terminal: fn() -> Option<TerminalSize>,
    columns: Vec<ExitColumn>,
    /// The width of the terminal when the header was printed.
    width: Option<usize>,
    /// The lines that fit below the header; `None` for no limit.
    lines_left: Option<usize>,
}

impl ExitTable {
    /// Returns a table of the given columns. `terminal` returns the size of the terminal that the
    /// table is printed on, if it is one.
    pub(crate) fn new(
        chosen: Option<Vec<ExitColumn>>,
        terminal: fn() -> Option<TerminalSize>,
    ) -> Self {
        Self { chosen, terminal, columns: Vec::new(), width: None, lines_left: None }
    }

    /// Returns the header, for the terminal's current size.
    pub(crate) fn header(&mut self, style: &Style) -> String {
        let size = (self.terminal)();
        self.width = size.map(|size| size.columns);
        self.lines_left = size.map(|size| size.rows.saturating_sub(OTHER_LINES).max(1));
        self.columns = match (&self.chosen, self.width) {
            (Some(chosen), _) => chosen.clone(),
            (None, Some(width)) => fitting(width),
            (None, None) => DEFAULT.to_vec(),
        };
        header(&self.layout(), style.palette, self.limit())
    }

    /// Returns the row of an exit, below a new header where the last one is a screen away.
    pub(crate) fn row(
        &mut self,
        exit: &ExitEvent,
        workload: Option<&Workload>,
        style: &Style,
    ) -> String {
        let exited = Exited::new(exit, workload);
        let mut text = self.header_if_due(style);
        let cells: Vec<Cell> =
            self.columns.iter().map(|column| column.cell(&exited, style)).collect();
        text.push_str(&line(&self.layout(), &cells, style.palette, self.limit()));
        self.count_lines(1);
        text
    }

    /// Counts a line of `width` columns that was printed between the rows, and can wrap.
    pub(crate) fn count_other_line(&mut self, width: usize) {
        let wrapped = self.width.map_or(1, |columns| width.div_ceil(columns.max(1)).max(1));
        self.count_lines(wrapped);
    }

    fn header_if_due(&mut self, style: &Style) -> String {
        if self.lines_left == Some(0) { self.header(style) } else { String::new() }
    }

    fn count_lines(&mut self, lines: usize) {
        self.lines_left = self.lines_left.map(|left| left.saturating_sub(lines));
    }

    /// A row is cut only where the columns were chosen to fit: a user who names columns gets all of
    /// their text.
    fn limit(&self) -> Option<usize> {
        self.width.filter(|_| self.chosen.is_none())
    }

    fn layout(&self) -> Vec<Column> {
        self.columns.iter().map(|column| column.layout()).collect()
    }
}

/// Returns the default columns without those that exceed the width.
fn fitting(width: usize) -> Vec<ExitColumn> {
    let mut columns = DEFAULT.to_vec();
    for dropped in DROP_ORDER {
        if total_width(&columns) <= width {
            break;
        }
        columns.retain(|column| *column != dropped);
    }
    columns
}

fn total_width(columns: &[ExitColumn]) -> usize {
    let widths: usize = columns.iter().map(|column| column.layout().width).sum();
    widths + columns.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::palette::Palette;
    use crate::cli::render::text::width;
    use crate::cli::render::time::LocalTime;
    use crate::proto::{Delay, Delays, Identity};
    use crate::{DelayAccounting, TaskStats};

    fn style() -> Style {
        Style { palette: Palette::plain(), time: LocalTime::utc(), is_wide: false }
    }

    fn exit() -> ExitEvent {
        let delay = Delay { count: 1, total_ns: 3_100_000, ..Default::default() };
        let task = TaskStats {
            identity: Some(Identity {
                pid: Some(4_194_304),
                comm: Some("a-very-long-name".to_owned()),
                ..Default::default()
            }),
            delays: Some(Delays { write_protect_copy: Some(delay), ..Default::default() }),
            delay_accounting: DelayAccounting::On.into(),
            ..Default::default()
        };
        ExitEvent { task: Some(task), last_in_process: Some(true), ..Default::default() }
    }

    const NARROW: fn() -> Option<TerminalSize> = || Some(TerminalSize { columns: 80, rows: 5 });

    #[test]
    fn a_row_fits_every_width() {
        for columns in 0..200 {
            let fits = fitting(columns);
            assert!(total_width(&fits) <= columns || fits == [ExitColumn::Comm], "{columns}");
        }
        assert_eq!(fitting(200), DEFAULT);
        let mut table = ExitTable::new(None, NARROW);
        assert_eq!(
            table.header(&style()),
            "TIME             PID COMM            END            CPU TIME TOP WAIT\n"
        );
        let row = table.row(&exit(), None, &style());
        assert!(width(row.trim_end()) <= 80, "{row}");
        assert!(row.ends_with("…\n"), "{row}");
    }

    #[test]
    fn the_header_is_repeated_once_a_screen() {
        let mut table = ExitTable::new(None, NARROW);
        let header = table.header(&style());
        let rows: Vec<bool> =
            (0..7).map(|_| table.row(&exit(), None, &style()).starts_with(&header)).collect();
        assert_eq!(rows, [false, false, false, true, false, false, true]);
        table.count_other_line(81);
        assert!(table.row(&exit(), None, &style()).starts_with(&header));
    }

    #[test]
    fn a_table_that_is_piped_has_one_header_and_all_default_columns() {
        let mut table = ExitTable::new(None, || None);
        assert!(table.header(&style()).contains("PPID"));
        let rows: String = (0..500).map(|_| table.row(&exit(), None, &style())).collect();
        assert!(!rows.contains("PPID"));
    }

    #[test]
    fn chosen_columns_are_neither_dropped_nor_cut() {
        let chosen = vec![ExitColumn::TopWait, ExitColumn::Pid];
        let mut table =
            ExitTable::new(Some(chosen), || Some(TerminalSize { columns: 10, rows: 5 }));
        assert_eq!(table.header(&style()), "TOP WAIT              PID\n");
        assert_eq!(table.row(&exit(), None, &style()), "write-protect copy 3.1 ms 4194304\n");
    }
}
