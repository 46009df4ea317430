//! Standard output, in the form that the user chose.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::ValueEnum;

use super::json::{Document, Json};
use super::palette::{ColorChoice, Palette};
use super::style::Style;
use super::time::{LocalTime, UnreadableZone};
use crate::{Cursor, ExitEvent, Workload};

/// Form of the output.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, with units
    Table,
    /// A table with all columns
    Wide,
    /// One line of key=value for each record, with raw numbers
    Compact,
    /// Proto JSON, indented
    Json,
    /// Proto JSON, one document a line
    Jsonl,
}

/// The way in which one command prints.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Aligned text.
    Table(Style),
    /// One line of text for each record.
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
    pub(crate) fn new(stdout: StdoutLock<'static>, mode: Mode) -> Self {
        Self { writer: BufWriter::new(stdout), mode }
    }

    /// Writes text that ends its own lines.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())
    }

    /// Writes a message as a document. Modes of text write nothing.
    pub(crate) fn document<D: Document>(&mut self, document: &D) -> io::Result<()> {
        match &self.mode {
            Mode::Json(json) => json.write(document, &mut self.writer),
            Mode::Table(_) | Mode::Compact => Ok(()),
        }
    }

    /// Writes an exit, its owner, and the cursor after it as a document. Modes of text write nothing.
    pub(crate) fn exit_document(
        &mut self,
        event: &ExitEvent,
        workload: Option<&Workload>,
        cursor: Option<&Cursor>,
    ) -> io::Result<()> {
        match &self.mode {
            Mode::Json(json) => json.write_exit(event, workload, cursor, &mut self.writer),
            Mode::Table(_) | Mode::Compact => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Mode {
    /// Returns the mode of a format, and the error of a time zone that it would need.
    pub(crate) fn new(format: Format, color: ColorChoice) -> (Self, Option<UnreadableZone>) {
        let is_wide = match format {
            Format::Table => false,
            Format::Wide => true,
            Format::Compact => return (Self::Compact, None),
            Format::Json => return (Self::Json(Json::indented()), None),
            Format::Jsonl => return (Self::Json(Json::lines()), None),
        };
        let (time, error) = match LocalTime::system() {
            Ok(time) => (time, None),
            Err(error) => (LocalTime::utc(), Some(error)),
        };
        (Self::Table(Style { palette: Palette::for_stdout(color), time, is_wide }), error)
    }
}
