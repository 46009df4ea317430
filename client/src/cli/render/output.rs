//! Where commands print, and how.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::ValueEnum;

use super::json::{Document, Json};
use super::palette::{ColorChoice, Palette};
use super::style::Style;
use super::time::LocalTime;

/// Form of the output.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned, with units
    Table,
    /// One line of key=value each
    Compact,
    /// The messages of the API in proto JSON, indented
    Json,
    /// The same, one a line
    Jsonl,
}

/// How one command prints.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Aligned text.
    Table(Style),
    /// One line of text each.
    Compact,
    /// Documents.
    Json(Json),
}

/// Standard output, buffered until [`Output::flush`].
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    pub(crate) mode: Mode,
}

impl Output {
    pub(crate) fn new(stdout: StdoutLock<'static>, format: Format, color: ColorChoice) -> Self {
        let mode = match format {
            Format::Table => Mode::Table(Style {
                palette: Palette::for_stdout(color),
                time: LocalTime::system(),
            }),
            Format::Compact => Mode::Compact,
            Format::Json => Mode::Json(Json::indented()),
            Format::Jsonl => Mode::Json(Json::lines()),
        };
        Self { writer: BufWriter::new(stdout), mode }
    }

    /// Writes text that ends its own lines.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())
    }

    /// Writes a document in the mode's form; nothing in a mode of text.
    pub(crate) fn document<D: Document>(&mut self, document: &D) -> io::Result<()> {
        match &self.mode {
            Mode::Json(json) => json.write(document, &mut self.writer),
            Mode::Table(_) | Mode::Compact => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
