//! The log of a watcher process that is killed, one exit a line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use taskstats_proto::v1::{Cursor, Lost, LostStage};

use crate::partial_decode::{Event, Events, Identity, Kind, Task};
use crate::stitched_stream::{Gap, ObservedExit, StitchedStream};

/// A file that is written at once, line by line: a killed writer leaves at most its last line torn.
#[derive(Debug)]
pub struct ExitLog {
    file: File,
    stitched: Option<StitchedStream>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Began {
        instance: String,
        sequence: u64,
    },
    Exit {
        sequence: u64,
        cpu: u32,
        kernel_sequence: u32,
        tgid: u32,
        pid: u32,
        ends_process: Option<bool>,
    },
    Lost {
        upto: u64,
        count: Option<u64>,
    },
}

impl ExitLog {
    /// Opens a log, reads its entries, and removes an incomplete line at its end.
    ///
    /// # Errors
    ///
    /// The file is not an exit log, or it contradicts itself.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).read(true).write(true).open(path)?;
        let mut lines = BufReader::new(&file);
        let (mut stitched, mut line, mut good) = (None, String::new(), 0);
        loop {
            line.clear();
            let length = lines.read_line(&mut line)?;
            if !line.ends_with('\n') {
                break;
            }
            follow(&mut stitched, serde_json::from_str(&line)?)?;
            good += u64::try_from(length)?;
        }
        file.set_len(good)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, stitched })
    }

    /// Returns the logged exits and gaps; `None` if the log is empty.
    #[must_use]
    pub fn stitched(&self) -> Option<&StitchedStream> {
        self.stitched.as_ref()
    }

    /// Logs the cursor that the first stream begins at.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn begin(&mut self, cursor: Cursor) -> Result<()> {
        let Cursor { instance_id: instance, sequence } = cursor;
        self.write(&Entry::Began { instance, sequence })
    }

    /// Writes an exit.
    ///
    /// # Errors
    ///
    /// The same as for [`ExitLog::begin`].
    pub fn exit(&mut self, exit: &ObservedExit) -> Result<()> {
        let ObservedExit { sequence, cpu, kernel_sequence, tgid, pid, ends_process } = *exit;
        self.write(&Entry::Exit { sequence, cpu, kernel_sequence, tgid, pid, ends_process })
    }

    /// Writes a gap.
    ///
    /// # Errors
    ///
    /// The same as for [`ExitLog::begin`].
    pub fn gap(&mut self, gap: &Gap) -> Result<()> {
        self.write(&Entry::Lost { upto: gap.upto, count: gap.count })
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        Ok(self.file.write_all(&line)?)
    }
}

fn follow(stitched: &mut Option<StitchedStream>, entry: Entry) -> Result<()> {
    let stitched = match entry {
        Entry::Began { instance, sequence } => {
            *stitched = Some(StitchedStream::begin(Cursor { instance_id: instance, sequence }));
            return Ok(());
        }
        Entry::Exit { .. } | Entry::Lost { .. } => stitched.as_mut().context("no beginning")?,
    };
    let instance_id = stitched.cursor().instance_id;
    let cursor = |sequence| Some(Cursor { instance_id, sequence });
    stitched.continued();
    match entry {
        Entry::Began { .. } => Ok(()),
        Entry::Exit {
            sequence,
            cpu,
            kernel_sequence,
            tgid,
            pid,
            ends_process: last_in_process,
        } => {
            let identity = Some(Identity { pid: Some(pid), tgid: Some(tgid) });
            let task = Some(Task { identity });
            let events = vec![Event { sequence, cpu, kernel_sequence, task, last_in_process }];
            stitched.follow(&Kind::Events(Events { events, cursor: cursor(sequence) }))
        }
        Entry::Lost { upto, count } => {
            let (stage, total) = (LostStage::History.into(), count.unwrap_or_default());
            let cursor = cursor(upto);
            stitched.follow(&Kind::Lost(Lost { stage, count, total, cursor, ..Lost::default() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let exit = |sequence| ObservedExit {
            sequence,
            cpu: 1,
            kernel_sequence: 9,
            tgid: 7,
            pid: 8,
            ends_process: None,
        };
        let mut exit_log = ExitLog::open(&path).unwrap();
        assert!(exit_log.stitched().is_none());
        exit_log.begin(Cursor { instance_id: "run".to_owned(), sequence: 4 }).unwrap();
        exit_log.exit(&exit(5)).unwrap();
        exit_log.file.write_all(b"{\"Exit\":{\"seq").unwrap();
        let mut exit_log = ExitLog::open(&path).unwrap();
        assert_eq!(exit_log.stitched().unwrap().exits(), [exit(5)]);
        exit_log.exit(&exit(6)).unwrap();
        let exit_log = ExitLog::open(&path).unwrap();
        assert_eq!(exit_log.stitched().unwrap().exits(), [exit(5), exit(6)]);
    }
}
