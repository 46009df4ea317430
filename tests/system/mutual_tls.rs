//! Client certificates: accepted and rejected ones, and the messages of both sides.

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

/// The exit code of a command that the agent rejects.
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
    let output = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.stdout.contains("CN=the CA"), "{}", output.stdout);
    let address = fixture.address(&agent)?;
    let method = "taskstats.v1.TaskstatsService/GetNode";
    let flags = ["-cacert", &ca, "-cert", &certificate, "-key", &key, &address, method];
    let output = Peer::run(&tools::grpcurl()?, flags).await?;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("CERTIFICATE_USE_SERVER"), "{}", output.stdout);
    Ok(())
}

/// A certificate that the client CA has not signed, or that is not valid now, is rejected in each
/// version of TLS, and the agent logs why.
#[tokio::test]
async fn an_invalid_client_certificate_is_rejected() -> Result<()> {
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
        assert_rejected(&fixture, pair.as_ref(), reason).await?;
    }
    Ok(())
}

async fn assert_rejected(fixture: &TlsFixture, pair: Option<&Pair>, reason: &str) -> Result<()> {
    let flags = [fixture.mutual_flags(), vec!["--tls-min-version".to_owned(), "1.2".to_owned()]];
    let agent = Agent::start_with(flags.concat()).await?;
    let url = agent.listening_on("tcp://")?;
    for version in [Version::V1_2, Version::V1_3] {
        let handshake = Handshake::new(version, fixture.authority.pem(), pair)?;
        let refusal = handshake.first_byte(&url).await.err().context("it was let in")?.to_string();
        assert!(refusal.contains("received fatal alert"), "{reason}: {refusal}");
    }
    fixture.failed_handshakes(&agent, 2).await?;
    let log = agent.stderr()?;
    assert!(log.contains(reason), "{reason} is not in {log}");
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// The command line prints which side rejected the other, and advice.
#[tokio::test]
async fn a_rejected_client_learns_why() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let other = Authority::new("another CA")?.sign(&Wanted::for_client("stranger"))?;
    fixture.files.write_pair("stranger", &other)?;
    let agent = Agent::start_with(fixture.mutual_flags()).await?;
    let output = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!(output.code, Some(NOT_LET), "{output:?}");
    assert!(output.stderr.contains("set it with --cert and --key"), "{}", output.stderr);
    let (certificate, key) =
        (fixture.files.argument("stranger.crt"), fixture.files.argument("stranger.key"));
    let flags = ["--ca", &fixture.ca(), "--cert", &certificate, "--key", &key, "node"];
    let output = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!(output.code, Some(NOT_LET), "{output:?}");
    assert!(
        output.stderr.contains("the agent refuses the client certificate"),
        "{}",
        output.stderr
    );
    Ok(())
}

/// A watch outlives its certificates, and the agent's: it reads the files again when it reconnects.
#[tokio::test]
async fn a_watch_reconnects_with_the_current_certificates() -> Result<()> {
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

/// A rejected client does not disturb others.
#[tokio::test]
async fn rejected_clients_do_not_disturb_others() -> Result<()> {
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
        assert!(stranger.first_byte(&url).await.is_err());
        get_pid(&mut client, std::process::id()).await?;
    }
    fixture.failed_handshakes(&agent, REFUSALS).await?;
    Ok(())
}

/// A certificate without names matches no rule, and is identified by its subject.
#[tokio::test]
async fn a_certificate_without_names_is_identified_by_its_subject() -> Result<()> {
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

/// Sessions cannot be resumed: each client is verified each time, because its certificate may have
/// expired.
#[tokio::test]
async fn each_handshake_verifies_anew() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let oldest = ["--tls-min-version", "1.2"].map(str::to_owned).to_vec();
    let agent = Agent::start_with([fixture.mutual_flags(), oldest].concat()).await?;
    let url = agent.listening_on("tcp://")?;
    for version in [Version::V1_2, Version::V1_3] {
        // Stores the session tickets of a server.
        let handshake = Handshake::new(version, fixture.authority.pem(), Some(&fixture.client))?;
        for _ in 0..3 {
            let stream = handshake.first_byte(&url).await?;
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{version:?}");
        }
    }
    Ok(())
}
