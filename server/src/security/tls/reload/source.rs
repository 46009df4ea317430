//! The files that certificates come from, compared with what is in use.

use std::hash::RandomState;
use std::time::SystemTime;

use crate::security::tls::server_config::{FileContents, LoadedConfig, MinVersion};
use crate::security::tls::{TlsError, TlsFiles};

/// The source of certificates.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) files: TlsFiles,
    pub(super) oldest: MinVersion,
    pub(super) hasher: RandomState,
}

/// The state of the files, compared with what is in use.
pub(super) enum FileState {
    /// They are what is in use.
    Unchanged,
    /// They are something else, which can be used, with its fingerprint.
    Changed(LoadedConfig, u64),
    /// They cannot be used now. The time is when they can be, if only their date is wrong.
    Unusable(TlsError, Option<SystemTime>),
}

impl Source {
    /// Reads the files, and returns what they make and its fingerprint.
    pub(super) fn load(&self) -> Result<(LoadedConfig, u64), TlsError> {
        let contents = FileContents::read(&self.files)?;
        let config = LoadedConfig::build(&self.files, &contents, self.oldest)?;
        Ok((config, contents.fingerprint(&self.hasher)))
    }

    /// Reads the files, and compares them with what is in use by its fingerprint.
    pub(super) fn compare(&self, in_use: u64) -> FileState {
        self.read(in_use).unwrap_or_else(|error| FileState::Unusable(error, None))
    }

    fn read(&self, in_use: u64) -> Result<FileState, TlsError> {
        let contents = FileContents::read(&self.files)?;
        let fingerprint = contents.fingerprint(&self.hasher);
        if fingerprint == in_use {
            return Ok(FileState::Unchanged);
        }
        let config = LoadedConfig::build(&self.files, &contents, self.oldest)?;
        let now = SystemTime::now();
        Ok(match config.check_dates(&self.files.certificate, now) {
            Ok(()) => FileState::Changed(config, fingerprint),
            Err(error) => FileState::Unusable(error, config.valid_from(now)),
        })
    }
}
