//! Where commands print, and how.

use std::io::{self, BufWriter, StdoutLock, Write};

use super::args::{ColorChoice, Format};
use super::json::{Document, Json};
use super::palette::Palette;
use super::time::Clock;

/// How text looks.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) palette: Palette,
    pub(super) clock: Clock,
}

/// How one command prints.
#[derive(Debug)]
pub(super) enum Mode {
    /// Aligned text.
    Table(Look),
    /// One line of text each.
    Compact,
    /// Documents.
    Json(Json),
}

/// Standard output, buffered until [`Output::flush`].
#[derive(Debug)]
pub(super) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    pub(super) mode: Mode,
}

impl Output {
    pub(super) fn new(stdout: StdoutLock<'static>, format: Format, color: ColorChoice) -> Self {
        let mode = match format {
            Format::Table => {
                Mode::Table(Look { palette: Palette::for_stdout(color), clock: Clock::local() })
            }
            Format::Compact => Mode::Compact,
            Format::Json => Mode::Json(Json::indented()),
            Format::Jsonl => Mode::Json(Json::lines()),
        };
        Self { writer: BufWriter::new(stdout), mode }
    }

    /// Writes text that ends its own lines.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())
    }

    /// Writes a document in the mode's form; nothing in a mode of text.
    pub(super) fn document<D: Document>(&mut self, document: &D) -> io::Result<()> {
        match &self.mode {
            Mode::Json(json) => json.write(document, &mut self.writer),
            Mode::Table(_) | Mode::Compact => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
