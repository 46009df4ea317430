//! Certificates of clients: whose are taken, whose are not, and what both sides say then.

use anyhow::{Context, Result};
use rustls::HandshakeKind;
use taskstats_proto::v1::GetPidRequest;
use taskstats_tests::agent::Agent;
use taskstats_tests::certificates::{Authority, Pair, Wanted};
use taskstats_tests::client::{Client, connect_securely};
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::tls_fixture::{NAME, TlsFixture};
use taskstats_tests::workload::Workload;
use taskstats_tests::{binaries, tools};
use tonic::Code;

use crate::support::{get_pid, refused};

/// What a command ends with whom the agent does not let in.
const NOT_LET: i32 = 3;

/// A client with a certificate of the CA is served, also one in another language.
#[tokio::test]
async fn a_client_of_the_ca_is_served() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let (ca, certificate, key) =
        (fixture.ca(), fixture.files.argument("client.crt"), fixture.files.argument("client.key"));
    let flags = ["--ca", &ca, "--cert", &certificate, "--key", &key, "node"];
    let said = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stdout.contains("CN=the CA"), "{}", said.stdout);
    let address = fixture.address(&agent)?;
    let method = "taskstats.v1.TaskstatsService/GetNode";
    let flags = ["-cacert", &ca, "-cert", &certificate, "-key", &key, &address, method];
    let said = Peer::run(&tools::grpcurl()?, flags).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("CERTIFICATE_USE_SERVER"), "{}", said.stdout);
    Ok(())
}

/// A certificate that is not one of the CA for clients, now, lets nobody in, whatever version of TLS is
/// spoken; and the agent's log says why.
#[tokio::test]
async fn a_certificate_that_is_not_right_lets_nobody_in() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let client = || Wanted::for_client("collector.example");
    let sign = |wanted: Wanted| fixture.authority.sign(&wanted);
    for (pair, reason) in [
        (None, "no certificate"),
        (Some(Authority::new("another CA")?.sign(&client())?), "UnknownIssuer"),
        (Some(Authority::new("the CA")?.sign(&client())?), "certificate is refused"),
        (Some(client().self_signed()?), "UnknownIssuer"),
        (Some(sign(client().expired())?), "expired"),
        (Some(sign(client().not_yet_valid())?), "not valid yet"),
        (Some(sign(Wanted::for_agent())?), "certificate is refused"),
    ] {
        assert_kept_out(&fixture, pair.as_ref(), reason).await?;
    }
    Ok(())
}

async fn assert_kept_out(fixture: &TlsFixture, pair: Option<&Pair>, reason: &str) -> Result<()> {
    let flags = [fixture.mutual_flags(), vec!["--tls-min-version".to_owned(), "1.2".to_owned()]];
    let agent = Agent::start_with(flags.concat()).await?;
    let url = agent.listening_on("tcp://")?;
    for version in [Version::V1_2, Version::V1_3] {
        let handshake = Handshake::new(version, fixture.authority.pem(), pair)?;
        let refusal = handshake.let_in(&url).await.err().context("it was let in")?.to_string();
        assert!(refusal.contains("received fatal alert"), "{reason}: {refusal}");
    }
    fixture.failed_handshakes(&agent, 2).await?;
    let log = agent.stderr()?;
    assert!(log.contains(reason), "{reason} is not in {log}");
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// The command line says which side refused, and what to do.
#[tokio::test]
async fn who_is_kept_out_learns_why() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let other = Authority::new("another CA")?.sign(&Wanted::for_client("stranger"))?;
    fixture.files.write_pair("stranger", &other)?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let said = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!(said.code, Some(NOT_LET), "{said:?}");
    assert!(said.stderr.contains("set it with --cert and --key"), "{}", said.stderr);
    let (certificate, key) =
        (fixture.files.argument("stranger.crt"), fixture.files.argument("stranger.key"));
    let flags = ["--ca", &fixture.ca(), "--cert", &certificate, "--key", &key, "node"];
    let said = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!(said.code, Some(NOT_LET), "{said:?}");
    assert!(said.stderr.contains("the agent refuses the client certificate"), "{}", said.stderr);
    Ok(())
}

/// A watch outlives its certificates, and the agent's: it reads the files again when it reconnects.
#[tokio::test]
async fn a_watch_reconnects_with_the_certificates_of_then() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let mut agent = Agent::start_with(fixture.mutual_flags()).await?;
    let (url, address) = (agent.listening_on("tcp://")?, fixture.address(&agent)?);
    let (target, ca) = (format!("tls://{address}"), fixture.ca());
    let (certificate, key) =
        (fixture.files.argument("client.crt"), fixture.files.argument("client.key"));
    let whom = ["--target", &target, "--ca", &ca, "--cert", &certificate, "--key", &key];
    let what = ["watch", "--reconnect", "--scope", "processes", "-o", "jsonl"];
    let mut watch = Peer::start(&binaries::taskstatsctl()?, whom.iter().chain(&what))?;
    watch.line_with("\"started\"").await?;
    agent.stop().await?;
    fixture.renew()?;
    let flags = [fixture.mutual_flags(), vec!["--listen".to_owned(), url]].concat();
    let _agent = Agent::start_with(flags).await?;
    watch.line_with("\"started\"").await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.line_with(&format!("\"pid\":{}", ended.pid)).await?;
    watch.kill().await
}

/// Who is refused does not disturb those who are served.
#[tokio::test]
async fn refusals_disturb_nobody() -> Result<()> {
    const REFUSALS: u64 = 50;
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let url = agent.listening_on("tcp://")?;
    let ca = fixture.authority.pem();
    let channel = connect_securely(&url, ca, Some(&fixture.client), NAME).await?;
    let stranger = Handshake::new(Version::V1_3, ca, None)?;
    let mut client = Client::new(channel);
    for _ in 0..REFUSALS {
        assert!(stranger.let_in(&url).await.is_err());
        get_pid(&mut client, std::process::id()).await?;
    }
    fixture.failed_handshakes(&agent, REFUSALS).await?;
    Ok(())
}

/// A certificate without names has no role by any rule, and is told apart from others by its subject.
#[tokio::test]
async fn a_certificate_without_names_is_called_by_its_subject() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = fixture.mutual_flags().into_iter().chain(["--allow=uid:0=query".to_owned()]);
    let agent = Agent::start_with(flags).await?;
    let nameless = fixture.authority.sign(&Wanted::for_client("").named(&[]))?;
    let (url, ca) = (agent.listening_on("tcp://")?, fixture.authority.pem());
    let mut client = Client::new(connect_securely(&url, ca, Some(&nameless), NAME).await?);
    let refusal = refused(client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await)?;
    assert_eq!(refusal.code, Code::PermissionDenied, "{refusal:?}");
    assert!(refusal.message.contains("`CN="), "{refusal:?}");
    Ok(())
}

/// Nobody comes in by a session that began before: each client is verified each time, as its certificate
/// may have ended meanwhile.
#[tokio::test]
async fn each_handshake_verifies_anew() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let oldest = ["--tls-min-version", "1.2"].map(str::to_owned).to_vec();
    let agent = Agent::start_with([fixture.mutual_flags(), oldest].concat()).await?;
    let url = agent.listening_on("tcp://")?;
    for version in [Version::V1_2, Version::V1_3] {
        // Keeps what a server gives to resume by.
        let handshake = Handshake::new(version, fixture.authority.pem(), Some(&fixture.client))?;
        for _ in 0..3 {
            let stream = handshake.let_in(&url).await?;
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{version:?}");
        }
    }
    Ok(())
}
