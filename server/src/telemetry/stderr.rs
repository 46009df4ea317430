//! Standard error as the target of log lines, which may be full, closed, or not read.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::PoisonError;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::LogFormat;

/// The longest wait for a reader of the log, in milliseconds. After a line was dropped there is no wait
/// until a line could be written again, so a reader that hangs delays the event loop once.
const MAX_WAIT_MS: u16 = 1000;

/// Bytes that end a line on a terminal or for a reader of the log.
const LINE_BREAKS: [u8; 2] = [b'\n', b'\r'];

/// A target that drops the lines it cannot write, counts them, and reports the count with the next line
/// that it can write. No failure reaches the code that logs.
#[derive(Debug)]
pub(super) struct LossyStderr {
    format: LogFormat,
    dropped: Mutex<u64>,
}

/// The target of one line.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a LossyStderr);

impl LossyStderr {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, dropped: Mutex::new(0) }
    }

    fn write_line(&self, target: &mut (impl Write + AsFd), line: &[u8]) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = if *dropped == 0 { PollTimeout::from(MAX_WAIT_MS) } else { PollTimeout::ZERO };
        let written = if !is_writable(target.as_fd(), wait) {
            false
        } else if *dropped == 0 {
            target.write_all(line).is_ok()
        } else {
            let report = report(self.format, *dropped);
            target.write_all(&[report.as_bytes(), line].concat()).is_ok()
        };
        *dropped = if written { 0 } else { dropped.saturating_add(1) };
    }
}

impl<'a> MakeWriter<'a> for LossyStderr {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

impl Write for Line<'_> {
    /// The subscriber formats a line in memory and writes it by one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_line(&mut io::stderr(), &one_line(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes line breaks but the last one, so that a path or a name with a line break cannot forge a line.
pub(super) fn one_line(text: &[u8]) -> Cow<'_, [u8]> {
    let (body, end) = match text.split_last() {
        Some((b'\n', before)) => (before, &b"\n"[..]),
        _ => (text, &b""[..]),
    };
    if !body.iter().any(|byte| LINE_BREAKS.contains(byte)) {
        return Cow::Borrowed(text);
    }
    let escaped = body.iter().flat_map(|byte| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        other => vec![*other],
    });
    Cow::Owned(escaped.chain(end.iter().copied()).collect())
}

/// Returns whether a write would not block. For a pipe or a socket that means space for a line of usual
/// length; anything else is always writable. A closed pipe is writable, and the write then fails.
fn is_writable(target: BorrowedFd<'_>, wait: PollTimeout) -> bool {
    let mut polled = [PollFd::new(target, PollFlags::POLLOUT)];
    poll(&mut polled, wait).is_ok_and(|ready| ready > 0)
}

/// Returns the line that reports dropped lines.
fn report(format: LogFormat, dropped: u64) -> String {
    let mut time = String::new();
    // Formatting into a string does not fail.
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut time));
    match format {
        LogFormat::Text => {
            format!("{time}  WARN taskstatsd::telemetry: dropped log lines count={dropped}\n")
        }
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"dropped log lines\",\"count\":{dropped},\"target\":\"taskstatsd::telemetry\"}}\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    const LINE: &[u8] = b"a line\n";

    fn full_device() -> File {
        File::options().write(true).open("/dev/full").unwrap()
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_in_the_next_one() {
        let stderr = LossyStderr::new(LogFormat::Text);
        for _ in 0..3 {
            stderr.write_line(&mut full_device(), LINE);
        }
        let (mut reader, mut writer) = io::pipe().unwrap();
        stderr.write_line(&mut writer, LINE);
        stderr.write_line(&mut writer, LINE);
        drop(writer);
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert!(lines[0].ends_with("dropped log lines count=3"), "{written}");
        assert_eq!(lines[1..], ["a line", "a line"]);
    }

    /// Issue 11, row 8: a line break in a path forged a line.
    #[test]
    fn a_line_break_in_a_message_is_escaped() {
        for (text, escaped) in
            [("a\n", "a\n"), ("a\nb\r\n", "a\\nb\\r\n"), ("a\nb", "a\\nb"), ("", "")]
        {
            assert_eq!(one_line(text.as_bytes()), escaped.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_pipe_without_a_reader_drops_lines() {
        let stderr = LossyStderr::new(LogFormat::Text);
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        stderr.write_line(&mut writer, LINE);
        assert_eq!(*stderr.dropped.lock().unwrap(), 1);
    }

    /// The test would not end if a write blocked.
    #[test]
    fn a_pipe_that_is_not_read_drops_lines() {
        let stderr = LossyStderr::new(LogFormat::Text);
        let (_reader, mut writer) = io::pipe().unwrap();
        while *stderr.dropped.lock().unwrap() < 2 {
            stderr.write_line(&mut writer, LINE);
        }
    }

    #[test]
    fn the_report_has_the_format_of_the_log() {
        let json: serde_json::Value = serde_json::from_str(&report(LogFormat::Json, 7)).unwrap();
        assert_eq!((&json["level"], &json["count"]), (&"WARN".into(), &7.into()));
        assert!(json["timestamp"].is_string(), "{json}");
    }
}
