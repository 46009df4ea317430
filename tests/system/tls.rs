//! TLS without client certificates: the start, and the clients that are accepted.

use anyhow::{Context, Result};
use taskstats_proto::v1::Limit;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::certificates::{Authority, Wanted};
use taskstats_tests::client::{Client, connect, connect_securely, service};
use taskstats_tests::deadline::within;
use taskstats_tests::handshake::{H2, Handshake, Version};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::tls_fixture::{NAME, TlsFixture, node};
use taskstats_tests::{binaries, tools};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::{count_refused, get_pid};

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// The number of handshakes that the agent performs at the same time.
const AT_ONCE: u64 = 256;
/// More than those.
const CROWD: u64 = 300;
/// Flags with which only the number of handshakes limits a crowd, neither their time nor their rate.
const PATIENCE: [&str; 4] = ["--handshake-timeout", "5m", "--max-handshake-rate", "0"];

/// Flags that contradict each other, or would be ignored, are errors of usage that name both.
#[tokio::test]
async fn contradictory_flags_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let tcp = ["--listen", "tcp://127.0.0.1:0"];
    let unix = ["--listen", "unix:///nowhere/agent.sock"];
    for (listen, flags, named) in [
        (tcp, vec!["--tls-cert", "/x"], ["--tls-cert", "--tls-key"]),
        (tcp, vec!["--tls-key", "/x"], ["--tls-key", "--tls-cert"]),
        (tcp, vec!["--insecure", "--client-ca", "/x"], ["--client-ca", "--tls-cert"]),
        (tcp, vec!["--insecure", "--tls-min-version", "1.2"], ["--tls-min-version", "--tls-cert"]),
        (
            tcp,
            vec!["--insecure", "--handshake-timeout", "1s"],
            ["--handshake-timeout", "--tls-cert"],
        ),
        (
            tcp,
            vec!["--insecure", "--tls-cert", "/x", "--tls-key", "/x"],
            ["--insecure", "--tls-cert"],
        ),
        (unix, vec!["--tls-cert", "/x", "--tls-key", "/x"], ["--tls-cert", "tcp://"]),
        (tcp, vec!["--tls-min-version", "1.1"], ["--tls-min-version", "1.2"]),
    ] {
        let ending = Launch::new()?.arguments(listen).arguments(&flags).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{flags:?}: {}", ending.stderr);
        let output = named.iter().all(|name| ending.stderr.contains(name));
        assert!(output, "{flags:?}: {}", ending.stderr);
    }
    Ok(())
}

/// TLS without client certificates admits all clients, which needs an explicit rule.
#[tokio::test]
async fn tls_without_client_certificates_needs_a_rule() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let ending = Launch::new()?.arguments(fixture.closed_flags()).run().await?;
    assert_eq!(ending.status.code(), Some(USAGE), "{}", ending.stderr);
    for way_out in ["--client-ca", "--allow anonymous=query,watch,node"] {
        assert!(ending.stderr.contains(way_out), "{}", ending.stderr);
    }
    let rule = ["--allow".to_owned(), "anonymous=node".to_owned()];
    let agent = Agent::start_with([fixture.closed_flags(), rule.to_vec()].concat()).await?;
    let url = agent.listening_on("tcp://")?;
    let channel = connect_securely(&url, fixture.authority.pem(), None, NAME).await?;
    node(&channel).await?;
    Ok(())
}

/// Files that make no TLS end the start, with the flag, the file and the reason.
#[tokio::test]
async fn files_that_are_no_certificates_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = |certificate: &str, key: &str, ca: &str| {
        let path = |name: &str| fixture.files.argument(name);
        let listen = ["--listen".to_owned(), "tcp://127.0.0.1:0".to_owned()];
        let tls = ["--tls-cert".to_owned(), path(certificate), "--tls-key".to_owned(), path(key)];
        [listen.as_slice(), &tls, &["--client-ca".to_owned(), path(ca)]].concat()
    };
    fixture.files.write("empty", "")?;
    fixture.files.write("torn", "-----BEGIN CERTIFICATE-----\nAAAA\n")?;
    for (flags, output) in [
        (flags("agent.crt", "client.key", "ca.crt"), "make no pair"),
        (flags("missing.crt", "agent.key", "ca.crt"), "No such file"),
        (flags("agent.crt", "agent.crt", "ca.crt"), "exchange --tls-cert and --tls-key"),
        (flags("agent.key", "agent.key", "ca.crt"), "has a private key and no certificate"),
        (flags("torn", "agent.key", "ca.crt"), "is not PEM"),
        (flags("agent.crt", "agent.key", "empty"), "is empty"),
    ] {
        let ending = Launch::new()?.arguments(&flags).run().await?;
        assert_eq!(ending.status.code(), Some(1), "{flags:?}: {}", ending.stderr);
        assert!(ending.stderr.contains(output), "{output} is not in {}", ending.stderr);
        assert!(!ending.stderr.contains("panicked"), "{}", ending.stderr);
    }
    Ok(())
}

/// A client that trusts the CA is served, and so are local clients at the same time.
#[tokio::test]
async fn a_client_that_trusts_the_ca_is_served() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let output = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.stdout.contains("CN=localhost"), "{}", output.stdout);
    let address = fixture.address(&agent)?;
    let arguments = ["-cacert", &fixture.ca(), &address, "list"];
    let output = Peer::run(&tools::grpcurl()?, arguments).await?;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    Ok(())
}

/// The client rejects an agent that it has no reason to trust, with the cause and advice.
#[tokio::test]
async fn a_client_rejects_an_agent_that_it_cannot_verify() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    fixture.files.write("other.crt", Authority::new("another CA")?.pem())?;
    let (ca, other) = (fixture.ca(), fixture.files.argument("other.crt"));
    let named = |name: &str| Wanted::for_agent().named(&[name]);
    for (wanted, flags, output) in [
        (Wanted::for_agent(), vec!["--ca", &other], "no CA in --ca signed"),
        (named("node7.example"), vec!["--ca", &ca], "--server-name"),
        (Wanted::for_agent().expired(), vec!["--ca", &ca], "renew it"),
        (Wanted::for_agent().not_yet_valid(), vec!["--ca", &ca], "or set the clock"),
        (Wanted::for_client(NAME), vec!["--ca", &ca], "is not one for servers"),
    ] {
        fixture.files.write_pair("agent", &fixture.authority.sign(&wanted)?)?;
        let agent = Agent::start_with(fixture.flags()).await?;
        let response = fixture.taskstatsctl(&agent, &[&flags[..], &["node"]].concat()).await?;
        assert_eq!(response.code, Some(1), "{output}: {response:?}");
        assert!(response.stderr.contains(output), "{output} is not in {}", response.stderr);
    }
    fixture.files.write_pair("agent", &fixture.authority.sign(&named("node7.example"))?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let flags = ["--ca", &ca, "--server-name", "node7.example", "health"];
    let response = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!(response.code, Some(0), "{response:?}");
    Ok(())
}

/// Each TLS flag of the client is used, or refused as a usage error.
#[tokio::test]
async fn the_client_ignores_no_flag() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let (ca, key) = (fixture.ca(), fixture.files.argument("agent.key"));
    let plain = agent.url();
    for (flags, output) in [
        (vec!["node"], "with --ca or TASKSTATS_CA"),
        (vec!["--ca", "/nowhere", "node"], "reading --ca /nowhere failed"),
        (vec!["--ca", &key, "node"], "no certificate in PEM"),
        (vec!["--ca", &ca, "--key", &key, "node"], "--cert"),
        (vec!["--ca", &ca, "--target", &plain, "node"], "no effect"),
    ] {
        let response = fixture.taskstatsctl(&agent, &flags).await?;
        assert_eq!(response.code, Some(USAGE), "{flags:?}: {response:?}");
        assert!(response.stderr.contains(output), "{output} is not in {}", response.stderr);
    }
    Ok(())
}

/// TLS 1.2 is spoken only where it was allowed.
#[tokio::test]
async fn the_oldest_tls_version_is_configurable() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let ca = fixture.authority.pem();
    let (old, new) =
        (Handshake::new(Version::V1_2, ca, None)?, Handshake::new(Version::V1_3, ca, None)?);
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    new.first_byte(&url).await?;
    let refusal = old.with(&url).await.err().context("TLS 1.2 was spoken")?.to_string();
    assert!(refusal.contains("ProtocolVersion"), "{refusal}");
    let flags = [fixture.flags(), vec!["--tls-min-version".to_owned(), "1.2".to_owned()]].concat();
    let agent = Agent::start_with(flags).await?;
    let url = agent.listening_on("tcp://")?;
    old.first_byte(&url).await?;
    new.first_byte(&url).await?;
    Ok(())
}

/// Only clients that offer HTTP/2 are accepted.
#[tokio::test]
async fn other_protocols_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    let handshake = || Handshake::new(Version::V1_3, fixture.authority.pem(), None);
    let none: &[&[u8]] = &[];
    for protocols in [none, &[b"http/1.1".as_slice()]] {
        assert!(
            handshake()?.asking_for(protocols).first_byte(&url).await.is_err(),
            "{protocols:?}"
        );
    }
    handshake()?.asking_for(&[b"http/1.1".as_slice(), H2]).first_byte(&url).await?;
    Ok(())
}

/// A client without TLS gets advice, and the agent logs what it received.
#[tokio::test]
async fn a_plaintext_client_is_rejected_with_advice() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    let arguments = ["--target", &url, "node"];
    let response = Peer::run(&binaries::taskstatsctl()?, arguments).await?;
    assert_eq!(response.code, Some(1), "{response:?}");
    assert!(response.stderr.contains("tls://"), "{}", response.stderr);
    fixture.failed_handshakes(&agent, 1).await?;
    assert!(agent.stderr()?.contains("other TLS or none"), "{}", agent.stderr()?);
    Ok(())
}

/// A TLS client of a plaintext port gets advice.
#[tokio::test]
async fn a_plaintext_port_is_recognized() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let response = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!(response.code, Some(1), "{response:?}");
    assert!(response.stderr.contains("does not use TLS"), "{}", response.stderr);
    Ok(())
}

/// Silent connections do not keep other clients out, however many there are.
#[tokio::test]
async fn silent_connections_do_not_keep_others_out() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let patience = PATIENCE.map(str::to_owned).to_vec();
    let agent = Agent::start_with([fixture.flags(), patience].concat()).await?;
    let url = agent.listening_on("tcp://")?;
    let address = url.strip_prefix("tcp://").context("no tcp address")?;
    let mut silent = Vec::new();
    for _ in 0..CROWD {
        silent.push(within("a connection", TcpStream::connect(address)).await??);
    }
    let channel = connect_securely(&url, fixture.authority.pem(), None, NAME).await?;
    get_pid(&mut Client::new(channel), std::process::id()).await?;
    fixture.failed_handshakes(&agent, CROWD - AT_ONCE).await?;
    let log = agent.stderr()?;
    assert_eq!(log.matches("because there were too many").count(), 1, "{log}");
    Ok(())
}

/// A handshake that does not complete in time is closed.
#[tokio::test]
async fn a_silent_connection_is_closed_in_time() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = [fixture.flags(), vec!["--handshake-timeout".to_owned(), "100ms".to_owned()]];
    let agent = Agent::start_with(flags.concat()).await?;
    let url = agent.listening_on("tcp://")?;
    let address = url.strip_prefix("tcp://").context("no tcp address")?;
    let mut silent = within("a connection", TcpStream::connect(address)).await??;
    let read = within("the end of the connection", silent.read(&mut [0; 1])).await?;
    assert_eq!(read?, 0);
    fixture.failed_handshakes(&agent, 1).await?;
    assert!(agent.stderr()?.contains("--handshake-timeout"), "{}", agent.stderr()?);
    let mut client = Client::new(connect(&agent.url()).await?);
    assert_eq!(count_refused(&mut client, Limit::HandshakeTime).await?, 1);
    Ok(())
}

/// The doctor reports faults of certificates, and when they expire.
#[tokio::test]
async fn the_doctor_checks_certificates() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let wanted = Wanted::for_agent().expired();
    fixture.files.write_pair("expired", &fixture.authority.sign(&wanted)?)?;
    for (certificate, key, sign, output) in [
        ("agent.crt", "agent.key", '✓', "expires at"),
        ("expired.crt", "expired.key", '✗', "expired at"),
        ("agent.crt", "expired.key", '✗', "make no pair"),
        ("missing.crt", "agent.key", '✗', "No such file"),
    ] {
        let (certificate, key) = (fixture.files.argument(certificate), fixture.files.argument(key));
        let tcp = ["--listen", "tcp://127.0.0.1:0", "doctor"];
        let arguments = [&tcp[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat();
        let response = Peer::run(&binaries::taskstatsd()?, arguments).await?;
        let line = response.stdout.lines().find(|line| line.contains("certificates"));
        let line = line.with_context(|| format!("no line on certificates in {response:?}"))?;
        assert!(line.starts_with(sign) && line.contains(output), "{line}");
    }
    Ok(())
}

/// An expired certificate is reported, and the other listeners still serve.
#[tokio::test]
async fn an_expired_certificate_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let wanted = Wanted::for_agent().expired();
    fixture.files.write_pair("agent", &fixture.authority.sign(&wanted)?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    assert!(agent.stderr()?.contains("expired at"), "{}", agent.stderr()?);
    let node = node(&connect(&agent.url()).await?).await?;
    let until = node.certificates[0].not_after.context("no end")?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    assert!(u64::try_from(until.seconds)? < now, "{until:?}");
    Ok(())
}
