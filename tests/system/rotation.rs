//! Certificates that change under a running agent.

mod secret;
mod under_load;

use std::fs;

use anyhow::{Context, Result};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::certificates::{Authority, Pair, Wanted};
use taskstats_tests::client::{Client, connect, connect_securely};
use taskstats_tests::environments::WITHOUT_INOTIFY;
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;
use taskstats_tests::tls_fixture::{NAME, TlsFixture, admit_all_flags, until_node, until_tls};
use tonic::transport::Channel;

use crate::support::get_pid;

/// Descriptors that suffice for an agent.
const PLENTY: usize = 1024;

/// Waits until the agent uses the certificate with a name. Each question is a call on an open
/// connection.
async fn in_use(channel: &Channel, name: &str) -> Result<()> {
    let uses = |names: &[String]| names.iter().any(|known| known == name);
    until_node(channel, |node| node.certificates.iter().any(|it| uses(&it.dns_names))).await?;
    Ok(())
}

/// New files that do not match are not used, and that is reported by the log and by `GetNode`,
/// once; connections and the old certificate stay. Corrected files are used.
#[tokio::test]
async fn a_bad_new_file_keeps_the_old_certificate() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let (url, ca) = (agent.listening_on("tcp://")?, fixture.authority.pem());
    let local = connect(&agent.url()).await?;
    let open = connect_securely(&url, ca, Some(&fixture.client), NAME).await?;
    let next = fixture.authority.sign(&Wanted::for_agent().and_name("next.example"))?;
    fixture.files.write("agent.crt", &next.certificate)?;
    let tls = until_tls(&local, |tls| tls.failed_reloads == 1).await?;
    assert!(tls.reload_error.contains("make no pair"), "{tls:?}");
    assert_eq!(agent.stderr()?.matches("those before stay in use").count(), 1);
    get_pid(&mut Client::new(open), std::process::id()).await?;
    drop(connect_securely(&url, ca, Some(&fixture.client), NAME).await?);
    fixture.files.write("agent.key", &next.key)?;
    in_use(&local, "next.example").await?;
    drop(connect_securely(&url, ca, Some(&fixture.client), "next.example").await?);
    let tls = until_tls(&local, |_| true).await?;
    let expected = (1, 1, "");
    assert_eq!((tls.reloads, tls.failed_reloads, tls.reload_error.as_str()), expected);
    Ok(())
}

/// Issue 10: an agent with TLS did not start where inotify instances are used up, and its unix
/// listener neither. It serves, warns, and reads the files at intervals.
#[tokio::test]
async fn without_inotify_certificates_are_polled() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let launch = Launch::new()?.listen_privately().arguments(["--kernel", "sim"]);
    let agent = launch.arguments(fixture.flags()).wrapped(WITHOUT_INOTIFY).start().await?;
    let log = agent.stderr()?;
    assert!(
        log.contains("because changes are not reported") && log.contains("Too many open files"),
        "{log}"
    );
    assert!(log.contains("fs.inotify.max_user_instances"), "{log}");
    let local = connect(&agent.url()).await?;
    fixture.files.write_pair("agent", &fixture.authority.sign(&Wanted::for_agent())?)?;
    until_tls(&local, |tls| tls.reloads == 1).await?;
    Ok(())
}

/// Issue 11, row 4: a FIFO at the path of a certificate blocked the rotation for ever, without a
/// log line.
#[tokio::test]
async fn a_fifo_in_place_of_a_certificate_does_not_freeze_rotation() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let local = connect(&agent.url()).await?;
    let certificate = fixture.files.path("agent.crt");
    fs::remove_file(&certificate)?;
    mkfifo(&certificate, Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH)?;
    let tls = until_tls(&local, |tls| tls.failed_reloads == 1).await?;
    assert!(tls.reload_error.contains("it is a FIFO"), "{tls:?}");
    fs::remove_file(&certificate)?;
    fixture.files.write_pair("agent", &fixture.authority.sign(&Wanted::for_agent())?)?;
    until_tls(&local, |tls| tls.reloads == 1).await?;
    Ok(())
}

/// The cause of a failed load need not be in the files: when it is gone the files are used,
/// although they do not change again.
#[tokio::test]
async fn files_that_were_unreadable_are_used_later() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    // The limits of a confined process are not even root's to change.
    let flags = fixture.flags().into_iter().chain(["--no-sandbox".to_owned()]);
    let agent = Agent::start_with(flags).await?;
    let local = connect(&agent.url()).await?;
    until_tls(&local, |_| true).await?;
    let pid = agent.pid()?;
    let few = process::next_descriptor(pid)?;
    process::set_descriptor_limit(pid, few).await?;
    let next = fixture.authority.sign(&Wanted::for_agent().and_name("next.example"))?;
    fixture.files.write_pair("agent", &next)?;
    until_tls(&local, |tls| tls.reload_error.contains("Too many open files")).await?;
    process::set_descriptor_limit(pid, PLENTY).await?;
    in_use(&local, "next.example").await?;
    let tls = until_tls(&local, |_| true).await?;
    let expected = (1, 1, "");
    assert_eq!((tls.reloads, tls.failed_reloads, tls.reload_error.as_str()), expected);
    Ok(())
}

/// Certificates that no client would accept, and missing files, are not used either.
#[tokio::test]
async fn certificates_that_no_client_accepts_are_not_used() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let local = connect(&agent.url()).await?;
    let sign = |wanted: Wanted| fixture.authority.sign(&wanted);
    let expired = sign(Wanted::for_agent().expired())?;
    fixture.files.write_pair("agent", &expired)?;
    until_tls(&local, |tls| tls.reload_error.contains("expired at")).await?;
    fixture.files.write_pair("agent", &sign(Wanted::for_agent().not_yet_valid())?)?;
    until_tls(&local, |tls| tls.reload_error.contains("not valid before")).await?;
    fs::remove_file(fixture.files.path("agent.crt"))?;
    let tls = until_tls(&local, |tls| tls.reload_error.contains("No such file")).await?;
    assert_eq!(tls.reloads, 0, "{tls:?}");
    let good = sign(Wanted::for_agent().and_name("good.example"))?;
    fixture.files.write_pair("agent", &good)?;
    in_use(&local, "good.example").await
}

/// New files are found however they are replaced: overwritten or renamed, each in a separate
/// directory.
#[tokio::test]
async fn every_way_to_replace_a_file_is_noticed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let files = &fixture.files;
    for directory in ["certs", "keys"] {
        fs::create_dir(files.path(directory))?;
    }
    let put = |pair: &Pair| -> Result<()> {
        files.write("certs/agent.crt", &pair.certificate)?;
        files.write("keys/agent.key", &pair.key)?;
        Ok(())
    };
    let sign = |name: &str| fixture.authority.sign(&Wanted::for_agent().and_name(name));
    put(&sign("first.example")?)?;
    let (certificate, key) = (files.argument("certs/agent.crt"), files.argument("keys/agent.key"));
    let flags = ["--listen", "tcp://127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let flags = [flags.map(str::to_owned).to_vec(), admit_all_flags()].concat();
    let agent = Agent::start_with(flags).await?;
    let local = connect(&agent.url()).await?;

    put(&sign("written.example")?)?;
    in_use(&local, "written.example").await?;

    let renamed = sign("renamed.example")?;
    for (name, text) in [("keys/agent.key", renamed.key), ("certs/agent.crt", renamed.certificate)]
    {
        files.write("new", &text)?;
        fs::rename(files.path("new"), files.path(name))?;
    }
    in_use(&local, "renamed.example").await?;

    put(&sign("last.example")?)?;
    in_use(&local, "last.example").await
}

/// A directory that is itself replaced is found without the sandbox; within it the agent may not
/// read the new one, and reports that.
#[tokio::test]
async fn a_replaced_directory_is_followed_or_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let files = &fixture.files;
    fs::create_dir(files.path("certs"))?;
    let (certificate, key) = (files.argument("certs/agent.crt"), files.argument("certs/agent.key"));
    let flags = ["--listen", "tcp://127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let flags = [flags.map(str::to_owned).to_vec(), admit_all_flags()].concat();
    let put = |directory: &str, name: &str| -> Result<()> {
        let pair = fixture.authority.sign(&Wanted::for_agent().and_name(name))?;
        files.write(&format!("{directory}/agent.crt"), &pair.certificate)?;
        files.write(&format!("{directory}/agent.key"), &pair.key)?;
        Ok(())
    };
    put("certs", "first.example")?;
    let confined = Agent::start_with(&flags).await?;
    let free = Agent::start_with([flags, vec!["--no-sandbox".to_owned()]].concat()).await?;
    let (confined, free) = (connect(&confined.url()).await?, connect(&free.url()).await?);
    fs::rename(files.path("certs"), files.path("certs.old"))?;
    fs::create_dir(files.path("certs.new"))?;
    put("certs.new", "moved.example")?;
    fs::rename(files.path("certs.new"), files.path("certs"))?;
    in_use(&free, "moved.example").await?;
    let node = until_node(&confined, |_| true).await?;
    if node.sandbox.is_some_and(|sandbox| sandbox.landlock_version > 0) {
        until_tls(&confined, |tls| tls.reload_error.contains("Permission denied")).await?;
        return in_use(&confined, "first.example").await;
    }
    in_use(&confined, "moved.example").await
}

/// The clients of a CA that is removed are rejected from then on; connected ones stay. A session
/// that began before cannot be resumed.
#[tokio::test]
async fn clients_of_a_removed_ca_are_rejected() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let (url, ca) = (agent.listening_on("tcp://")?, fixture.authority.pem().to_owned());
    let open = connect_securely(&url, &ca, Some(&fixture.client), NAME).await?;
    // Stores the session tickets of a server.
    let old = Handshake::new(Version::V1_3, &ca, Some(&fixture.client))?;
    drop(old.first_byte(&url).await?);

    let other = Authority::new("another CA")?;
    let newcomer = other.sign(&Wanted::for_client("newcomer"))?;
    fixture.files.write("ca.crt", other.pem())?;
    until_node(&open, |node| node.certificates.iter().any(|it| it.subject == "CN=another CA"))
        .await?;

    let refusal = old.first_byte(&url).await.err().context("the old CA still lets in")?.to_string();
    assert!(refusal.contains("received fatal alert"), "{refusal}");
    Handshake::new(Version::V1_3, &ca, Some(&newcomer))?.first_byte(&url).await?;
    get_pid(&mut Client::new(open), std::process::id()).await?;
    Ok(())
}

/// A certificate that expires within days is reported at the start.
#[tokio::test]
async fn an_expiring_certificate_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let wanted = Wanted::for_agent().ending_in(std::time::Duration::from_secs(3 * 24 * 60 * 60));
    fixture.files.write_pair("agent", &fixture.authority.sign(&wanted)?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let log = agent.stderr()?;
    assert!(log.contains("expires at") && log.contains("renew it"), "{log}");
    Ok(())
}
