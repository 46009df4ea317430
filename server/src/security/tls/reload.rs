//! Keeps the certificates in use those of the files.

use std::hash::RandomState;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::certificate::format_date;
use super::server_config::{FileContents, LoadedConfig, MinVersion};
use super::watcher::{WatchSet, Watcher};
use super::{Tls, TlsError, TlsFiles, Validity};
use crate::backoff::Backoff;
use crate::worker::Worker;

/// Name of the thread that reads them.
const THREAD: &str = "certificates";
/// How long files may make no whole: who replaces a certificate and then its key takes milliseconds, by
/// hand some seconds. What is in use stays so meanwhile.
const SETTLING: Duration = Duration::from_secs(2);
/// What wakes for a date sleeps no longer than this, because clocks are set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest delay before refused files are read again. The cause need not be in the files: file
/// descriptors run out, and so does a network.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// The task that reads the files again when they change.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    watcher: Watcher,
    tls: Arc<Tls>,
    requests: ReloadHandle,
    /// What is in use.
    fingerprint: u64,
    /// When files that cannot be used are given up.
    settled_at: Option<Instant>,
    /// When files that cannot be used yet can be.
    valid_from: Option<SystemTime>,
    /// The time at which refused files are read again.
    retry_at: Option<Instant>,
    backoff: Backoff,
}

/// Requests that a [`Reloader`] reads the files now, although no change was seen, such as at a SIGHUP.
///
/// Clones request the same. Requests that come while the files are being read are merged into one.
#[derive(Clone, Debug, Default)]
pub struct ReloadHandle(Arc<Notify>);

impl ReloadHandle {
    /// Has the files read as soon as possible, and reported as they are then: unlike after a change
    /// that was seen, there is no wait for files that are not consistent yet.
    pub fn read_now(&self) {
        self.0.notify_one();
    }
}

/// Where certificates come from.
#[derive(Clone, Debug)]
struct Source {
    files: TlsFiles,
    oldest: MinVersion,
    hasher: RandomState,
}

/// What the files are now.
enum Found {
    /// What is in use.
    Same,
    /// Something else, which can be used.
    New(LoadedConfig, u64),
    /// What cannot be used now, and from when on it can, if that is all.
    Unusable(TlsError, Option<SystemTime>),
}

impl Reloader {
    /// Reads the files for the first time. They are watched before they are read, so that no change is
    /// missed. A certificate that has expired is used all the same, so that the agent's other listeners
    /// serve, and it can be renewed under the running agent.
    ///
    /// # Errors
    /// Why there is no TLS with these files.
    pub fn start(files: TlsFiles, oldest: MinVersion) -> Result<Self, TlsError> {
        let mut watcher = Watcher::new()?;
        let mut watched = watcher.watched();
        watched.follow(&files)?;
        watcher.set_watched(watched);
        let source = Source { files, oldest, hasher: RandomState::new() };
        let (material, fingerprint) = source.load()?;
        log_validity(&material);
        let tls = Arc::new(Tls::new(material));
        Ok(Self {
            source,
            watcher,
            tls,
            requests: ReloadHandle::default(),
            fingerprint,
            settled_at: None,
            valid_from: None,
            retry_at: None,
            backoff: Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        })
    }

    /// What the files were made of.
    #[must_use]
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Returns a handle by which the files are read at once.
    #[must_use]
    pub fn handle(&self) -> ReloadHandle {
        self.requests.clone()
    }

    /// Works until it is aborted.
    pub async fn run(mut self) {
        loop {
            match self.next().await {
                Ok(()) => {}
                Err(error) => {
                    // Cannot be but by a defect: the descriptor is the agent's own.
                    tracing::error!(%error, "certificates are no longer watched; restart the agent to change them");
                    let what = "files".to_owned();
                    self.tls.refuse(&TlsError::Watch { what, source: error });
                    return;
                }
            }
        }
    }

    /// Waits for a reason to look at the files, and looks.
    async fn next(&mut self) -> io::Result<()> {
        let (wake_at, for_a_date) = self.wake_at();
        tokio::select! {
            changed = self.watcher.changed() => {
                changed?;
                // They may be on their way to something else, and get the time for it.
                self.forget_retries();
            }
            () = self.requests.0.notified() => {
                tracing::info!("reading the certificates, as requested");
                self.forget_retries();
                self.settled_at = Some(Instant::now());
            }
            () = sleep_until(wake_at) => {
                if for_a_date && self.valid_from.is_none() {
                    log_validity(&self.tls.current());
                    if self.retry_at.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        self.look().await;
        Ok(())
    }

    /// When to wake without a change: to give up, to try again, or for a date; and whether it is for a
    /// date.
    fn wake_at(&self) -> (Instant, bool) {
        if let Some(at) = self.settled_at {
            return (at, false);
        }
        let now = SystemTime::now();
        let material = self.tls.current();
        let changes = material.certificates.iter().filter_map(|info| info.next_change(now));
        let sleep = match changes.chain(self.valid_from).min() {
            // A date with seconds is reached within the next one.
            Some(date) => date.duration_since(now).unwrap_or_default() + Duration::from_secs(1),
            None => MAX_SLEEP,
        };
        let date = Instant::now() + sleep.min(MAX_SLEEP);
        match self.retry_at {
            Some(retry_at) if retry_at < date => (retry_at, false),
            _ => (date, true),
        }
    }

    async fn look(&mut self) {
        let (source, fingerprint) = (self.source.clone(), self.fingerprint);
        let mut watched = self.watcher.watched();
        // Beside the event loop: a folder may be on a network.
        let looking = Worker::start(THREAD, move || {
            let found = source.find(&mut watched, fingerprint);
            (watched, found)
        });
        let looked = match looking {
            Ok(looking) => looking.result().await.ok_or(TlsError::Interrupted),
            Err(error) => Err(TlsError::Thread(error)),
        };
        let found = match looked {
            Ok((watched, found)) => {
                self.watcher.set_watched(watched);
                found
            }
            Err(error) => Found::Unusable(error, None),
        };
        self.take(found);
    }

    fn take(&mut self, found: Found) {
        match found {
            Found::Same => {
                self.forget_failures();
                if self.tls.settle() {
                    tracing::info!("the files are again the certificates in use");
                }
            }
            Found::New(material, fingerprint) => {
                self.forget_failures();
                self.fingerprint = fingerprint;
                log_new(&material);
                self.tls.replace(material);
            }
            Found::Unusable(error, valid_from) => self.wait_or_refuse(&error, valid_from),
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

    /// Files are replaced one after the other. Only if they make no whole when they should by now, they
    /// are refused.
    fn wait_or_refuse(&mut self, error: &TlsError, valid_from: Option<SystemTime>) {
        let now = Instant::now();
        if self.retry_at.is_none() && *self.settled_at.get_or_insert(now + SETTLING) > now {
            return;
        }
        self.settled_at = None;
        self.valid_from = valid_from;
        self.retry_at = Some(now + self.backoff.next_delay());
        if self.tls.refuse(error) {
            tracing::warn!("changed certificates are not used, those before stay in use: {error}");
        }
    }
}

impl Source {
    fn load(&self) -> Result<(LoadedConfig, u64), TlsError> {
        let bytes = FileContents::read(&self.files)?;
        let material = LoadedConfig::build(&self.files, &bytes, self.oldest)?;
        Ok((material, bytes.fingerprint(&self.hasher)))
    }

    fn find(&self, watched: &mut WatchSet, in_use: u64) -> Found {
        let found = watched.follow(&self.files).and_then(|()| {
            let bytes = FileContents::read(&self.files)?;
            let fingerprint = bytes.fingerprint(&self.hasher);
            if fingerprint == in_use {
                return Ok(Found::Same);
            }
            let material = LoadedConfig::build(&self.files, &bytes, self.oldest)?;
            let now = SystemTime::now();
            Ok(match material.check_dates(&self.files.certificate, now) {
                Ok(()) => Found::New(material, fingerprint),
                Err(error) => Found::Unusable(error, material.valid_from(now)),
            })
        });
        found.unwrap_or_else(|error| Found::Unusable(error, None))
    }
}

fn log_new(material: &LoadedConfig) {
    if let Some(server) = material.certificates.first() {
        let until = format_date(server.not_after);
        tracing::info!(subject = server.subject, until, "new connections use changed certificates");
    }
    log_validity(material);
}

/// Warns of dates that want somebody to act.
fn log_validity(material: &LoadedConfig) {
    let now = SystemTime::now();
    for info in &material.certificates {
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
