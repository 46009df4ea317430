use super::*;
use crate::security::tls::fixtures::{Chain, Directory};

fn exhausted() -> Result<Watcher, TlsError> {
    let source = io::Error::from_raw_os_error(libc::EMFILE);
    Err(TlsError::Watch { what: "files".to_owned(), source })
}

fn start(directory: &Directory, watcher: Result<Watcher, TlsError>) -> Result<Reloader, TlsError> {
    Reloader::start_with(directory.files(), MinVersion::default(), watcher)
}

/// Issue 10: an agent whose inotify instances are used up did not start.
#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_watched_are_polled() {
    let chain = Chain::valid();
    let directory = Directory::new(chain.certificates(), &chain.key);
    let mut reloader = start(&directory, exhausted()).unwrap();
    assert!(reloader.watcher.is_none());
    let next = Chain::valid();
    directory.write("tls.crt", next.certificates());
    directory.write("tls.key", &next.key);
    let began = Instant::now();
    reloader.next().await;
    assert_eq!(reloader.tls.counts().reloads, 1);
    assert!(began.elapsed() <= POLL_INTERVAL + Duration::from_secs(1), "{:?}", began.elapsed());
    // An instance was there by then.
    assert!(reloader.watcher.is_some());
}

#[tokio::test]
async fn other_failures_to_watch_are_errors() {
    let chain = Chain::valid();
    let directory = Directory::new(chain.certificates(), &chain.key);
    let source = io::Error::from_raw_os_error(libc::EACCES);
    let refused = start(&directory, Err(TlsError::Watch { what: "/tls".to_owned(), source }));
    assert!(matches!(refused, Err(TlsError::Watch { .. })), "{refused:?}");
}

/// An operator who requests it gets an outcome at once, good or bad.
#[tokio::test(start_paused = true)]
async fn a_request_is_carried_out_without_a_wait() {
    let chain = Chain::valid();
    let directory = Directory::new(chain.certificates(), &chain.key);
    let mut reloader = start(&directory, exhausted()).unwrap();
    let handle = reloader.handle();
    let began = Instant::now();
    directory.write("tls.key", Chain::valid().key);
    handle.read_now();
    reloader.next().await;
    assert_eq!(reloader.tls.counts().failed_reloads, 1);
    directory.write("tls.key", &chain.key);
    handle.read_now();
    reloader.next().await;
    assert_eq!(reloader.tls.counts().reload_error, None);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
