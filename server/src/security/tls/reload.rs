//! Keeps the certificates in use identical to the files.

mod source;

use std::hash::RandomState;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::source::{FileState, Source};
use super::certificate::format_date;
use super::server_config::{LoadedConfig, MinVersion};
use super::watcher::Watcher;
use super::{Tls, TlsError, TlsFiles, Validity};
use crate::advice::{Cause, HasCause};
use crate::backoff::Backoff;
use crate::worker::Worker;

/// Name of the thread that reads the files.
const THREAD: &str = "certificates";
/// The time during which new files may be inconsistent. A program replaces a certificate and then its key within
/// milliseconds, a person within seconds. The old certificates stay in use meanwhile.
const SETTLING: Duration = Duration::from_secs(2);
/// The longest sleep before a date, because the clock may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest delay before rejected files are read again. The cause need not be in the files: file
/// descriptors run out, and a network fails.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Between two reads of files that cannot be watched. Renewed certificates are used within this time;
/// reading three small files costs some tens of microseconds.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The task that reads the files again when they change.
///
/// Changes are reported by inotify. Where its instances or watches are used up, which other programs
/// of the same user can cause, the files are polled until they can be watched again.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Source,
    /// `None` while the files are polled.
    watcher: Option<Watcher>,
    tls: Arc<Tls>,
    requests: ReloadHandle,
    /// Identifies the contents in use.
    fingerprint: u64,
    /// When files that are inconsistent now are rejected.
    settled_at: Option<Instant>,
    /// When a certificate that is not valid yet becomes valid.
    valid_from: Option<SystemTime>,
    /// When rejected files are read again.
    retry_at: Option<Instant>,
    backoff: Backoff,
}

/// Requests that a [`Reloader`] reads the files now, although no change was seen, such as at a SIGHUP.
///
/// Clones request the same. Requests that come while the files are being read are merged into one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadHandle(Arc<Notify>);

impl ReloadHandle {
    /// Has the files read as soon as possible. Inconsistent files are rejected at once, unlike after
    /// a change that was seen, which may be one of several.
    pub(crate) fn read_now(&self) {
        self.0.notify_one();
    }
}

/// The reason for which the task wakes.
enum Wake {
    /// They changed, or a read is due.
    Read,
    /// The validity of a certificate in use changed.
    Date,
}

impl Reloader {
    /// Reads the files for the first time. They are watched before they are read, so that no change
    /// is missed. A certificate that has expired is used all the same: the agent's other listeners
    /// serve, and the certificate can be renewed while the agent runs.
    ///
    /// # Errors
    /// Why there is no TLS with these files.
    pub(crate) fn start(files: TlsFiles, oldest: MinVersion) -> Result<Self, TlsError> {
        Self::start_with(files, oldest, Watcher::new())
    }

    fn start_with(
        files: TlsFiles,
        oldest: MinVersion,
        watcher: Result<Watcher, TlsError>,
    ) -> Result<Self, TlsError> {
        let watcher = match watcher.and_then(|watcher| watcher.following(&files)) {
            Ok(watcher) => Some(watcher),
            Err(error) if error.is_exhaustion() => {
                log_polling(&error);
                None
            }
            Err(error) => return Err(error),
        };
        let source = Source { files, oldest, hasher: RandomState::new() };
        let (config, fingerprint) = source.load()?;
        log_warnings(&config);
        Ok(Self {
            source,
            watcher,
            tls: Arc::new(Tls::new(config)),
            requests: ReloadHandle::default(),
            fingerprint,
            settled_at: None,
            valid_from: None,
            retry_at: None,
            backoff: Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        })
    }

    /// Returns the certificates in use, which change when the files do.
    #[must_use]
    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Returns a handle by which the files are read at once.
    #[must_use]
    pub(crate) fn handle(&self) -> ReloadHandle {
        self.requests.clone()
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        loop {
            self.next().await;
        }
    }

    /// Waits for a reason to read the files, and reads them.
    async fn next(&mut self) {
        let (wake_at, wake) = self.wake_at();
        let requests = self.requests.clone();
        tokio::select! {
            changed = changed(self.watcher.as_mut()) => {
                if let Err(source) = changed {
                    self.poll_from_now_on(&TlsError::Watch { what: "files".to_owned(), source });
                }
                // The files may be replaced one by one, and get the time for it.
                self.forget_retries();
            }
            () = requests.0.notified() => {
                tracing::info!("reading certificates on request");
                self.forget_retries();
                self.settled_at = Some(Instant::now());
            }
            () = sleep_until(wake_at) => if let Wake::Date = wake {
                let is_due = |at| SystemTime::now() >= at;
                if !self.valid_from.is_some_and(is_due) {
                    log_warnings(&self.tls.current());
                    return;
                }
            }
        }
        self.read().await;
    }

    /// Returns when to wake without a change, and why.
    fn wake_at(&self) -> (Instant, Wake) {
        if let Some(at) = self.settled_at {
            return (at, Wake::Read);
        }
        let now = SystemTime::now();
        let config = self.tls.current();
        let changes = config.certificates.iter().filter_map(|info| info.next_change(now));
        let sleep = match changes.chain(self.valid_from).min() {
            // A date has whole seconds, so it is reached within the next second.
            Some(date) => date.duration_since(now).unwrap_or_default() + Duration::from_secs(1),
            None => MAX_SLEEP,
        };
        let date = Instant::now() + sleep.min(MAX_SLEEP);
        let poll_at = self.watcher.is_none().then(|| Instant::now() + POLL_INTERVAL);
        let read_at = self.retry_at.into_iter().chain(poll_at).min();
        match read_at {
            Some(at) if at < date => (at, Wake::Read),
            _ => (date, Wake::Date),
        }
    }

    /// Reads the files on a thread beside the event loop, because a directory may be on a network.
    async fn read(&mut self) {
        let (source, fingerprint) = (self.source.clone(), self.fingerprint);
        let is_polling = self.watcher.is_none();
        let mut watcher = match self.watcher.take() {
            Some(watcher) => Some(watcher),
            None => Watcher::new().ok(),
        };
        let mut watches = watcher.as_ref().map(Watcher::watches);
        let reading = Worker::start(THREAD, move || {
            let followed = watches.as_mut().map(|watches| watches.follow(&source.files));
            (watches, followed, source.compare(fingerprint))
        });
        let outcome = match reading {
            Ok(reading) => reading.result().await.ok_or(TlsError::Interrupted),
            Err(error) => Err(TlsError::Thread(error)),
        };
        let found = match outcome {
            Ok((watches, followed, found)) => {
                if let (Some(watcher), Some(watches)) = (&mut watcher, watches) {
                    watcher.set_watches(watches);
                }
                match followed {
                    Some(Err(error)) if error.is_exhaustion() => {
                        watcher = None;
                        if !is_polling {
                            log_polling(&error);
                        }
                        found
                    }
                    Some(Err(error)) => FileState::Unusable(error, None),
                    Some(Ok(())) | None => found,
                }
            }
            Err(error) => FileState::Unusable(error, None),
        };
        if is_polling && watcher.is_some() {
            tracing::info!("watching certificates for changes again");
        }
        self.watcher = watcher;
        self.apply(found);
    }

    fn poll_from_now_on(&mut self, error: &TlsError) {
        log_polling(error);
        self.watcher = None;
    }

    fn apply(&mut self, found: FileState) {
        match found {
            FileState::Unchanged => {
                self.forget_failures();
                if self.tls.settle() {
                    tracing::info!("the files are again the certificates in use");
                }
            }
            FileState::Changed(config, fingerprint) => {
                self.forget_failures();
                self.fingerprint = fingerprint;
                log_changed(&config);
                self.tls.replace(config);
            }
            FileState::Unusable(error, valid_from) => self.wait_or_reject(&error, valid_from),
        }
    }

    fn forget_failures(&mut self) {
        self.settled_at = None;
        self.valid_from = None;
        self.forget_retries();
    }

    fn forget_retries(&mut self) {
        self.retry_at = None;
        self.backoff.reset();
    }

    /// Rejects the files if they had the time to become consistent: they are replaced one by one.
    fn wait_or_reject(&mut self, error: &TlsError, valid_from: Option<SystemTime>) {
        let now = Instant::now();
        if self.retry_at.is_none() && *self.settled_at.get_or_insert(now + SETTLING) > now {
            return;
        }
        self.settled_at = None;
        self.valid_from = valid_from;
        self.retry_at = Some(now + self.backoff.next_delay());
        if self.tls.reject(error) {
            let fix = error.cause().map(Cause::advice_here);
            tracing::warn!(
                fix,
                "changed certificates are not used, those before stay in use: {error}"
            );
        }
    }
}

/// Waits until the files changed, or for ever where they are not watched.
async fn changed(watcher: Option<&mut Watcher>) -> io::Result<()> {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}

fn log_polling(error: &TlsError) {
    tracing::warn!(
        fix = error.cause().map(Cause::advice_here),
        "certificates are read every {} s, because changes are not reported: {error}",
        POLL_INTERVAL.as_secs()
    );
}

fn log_changed(config: &LoadedConfig) {
    if let Some(server) = config.certificates.first() {
        let until = format_date(server.not_after);
        tracing::info!(subject = server.subject, until, "new connections use changed certificates");
    }
    log_warnings(config);
}

/// Warns about certificates that need an operator.
fn log_warnings(config: &LoadedConfig) {
    let now = SystemTime::now();
    if let Some(exposed) = &config.exposed_key {
        tracing::warn!(fix = exposed.cause().map(Cause::advice_here), "{exposed}");
    }
    for info in &config.certificates {
        if let Some(warning) = info.warning {
            tracing::warn!("{info}: {warning}");
        }
        let until = format_date(info.not_after);
        match info.validity(now) {
            Validity::Valid => {}
            Validity::EndsSoon(_) => tracing::warn!("{info} expires at {until}; renew it"),
            Validity::Expired => tracing::warn!("{info} expired at {until}; renew it"),
            Validity::NotYet => {
                let from = format_date(info.not_before);
                tracing::warn!("{info} is not valid before {from}; check the clocks");
            }
        }
    }
}

#[cfg(test)]
mod tests;
