//! TLS without certificates of clients: how it starts, and who gets in.

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

/// What a command that was called in the wrong way ends with.
const USAGE: i32 = 2;
/// How many the agent lets shake hands at once.
const AT_ONCE: u64 = 256;
/// More than those.
const CROWD: u64 = 300;

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
        let said = named.iter().all(|name| ending.stderr.contains(name));
        assert!(said, "{flags:?}: {}", ending.stderr);
    }
    Ok(())
}

/// TLS alone keeps nobody out: who wants to let everybody in has to say so.
#[tokio::test]
async fn tls_that_lets_everybody_in_takes_a_word_for_it() -> Result<()> {
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
async fn files_that_make_no_tls_are_refused() -> Result<()> {
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
    for (flags, said) in [
        (flags("agent.crt", "client.key", "ca.crt"), "make no pair"),
        (flags("missing.crt", "agent.key", "ca.crt"), "No such file"),
        (flags("agent.crt", "agent.crt", "ca.crt"), "exchange --tls-cert and --tls-key"),
        (flags("agent.key", "agent.key", "ca.crt"), "has a private key and no certificate"),
        (flags("torn", "agent.key", "ca.crt"), "is not PEM"),
        (flags("agent.crt", "agent.key", "empty"), "is empty"),
    ] {
        let ending = Launch::new()?.arguments(&flags).run().await?;
        assert_eq!(ending.status.code(), Some(1), "{flags:?}: {}", ending.stderr);
        assert!(ending.stderr.contains(said), "{said} is not in {}", ending.stderr);
        assert!(!ending.stderr.contains("panicked"), "{}", ending.stderr);
    }
    Ok(())
}

/// A client that knows the CA is served, and so are local ones beside it.
#[tokio::test]
async fn a_client_that_knows_the_ca_is_served() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let said = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stdout.contains("CN=localhost"), "{}", said.stdout);
    let address = fixture.address(&agent)?;
    let arguments = ["-cacert", &fixture.ca(), &address, "list"];
    let said = Peer::run(&tools::grpcurl()?, arguments).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    Ok(())
}

/// The client refuses an agent that it has no reason to trust, and says why and what to do.
#[tokio::test]
async fn a_client_refuses_an_agent_that_it_cannot_know() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    fixture.files.write("other.crt", Authority::new("another CA")?.pem())?;
    let (ca, other) = (fixture.ca(), fixture.files.argument("other.crt"));
    let named = |name: &str| Wanted::for_agent().named(&[name]);
    for (wanted, flags, said) in [
        (Wanted::for_agent(), vec!["--ca", &other], "no CA in --ca signed"),
        (named("node7.example"), vec!["--ca", &ca], "--server-name"),
        (Wanted::for_agent().expired(), vec!["--ca", &ca], "renew it"),
        (Wanted::for_agent().not_yet_valid(), vec!["--ca", &ca], "or set the clock"),
        (Wanted::for_client(NAME), vec!["--ca", &ca], "is not one for servers"),
    ] {
        fixture.files.write_pair("agent", &fixture.authority.sign(&wanted)?)?;
        let agent = Agent::start_with(fixture.flags()).await?;
        let answer = fixture.taskstatsctl(&agent, &[&flags[..], &["node"]].concat()).await?;
        assert_eq!(answer.code, Some(1), "{said}: {answer:?}");
        assert!(answer.stderr.contains(said), "{said} is not in {}", answer.stderr);
    }
    fixture.files.write_pair("agent", &fixture.authority.sign(&named("node7.example"))?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let flags = ["--ca", &ca, "--server-name", "node7.example", "health"];
    let answer = fixture.taskstatsctl(&agent, &flags).await?;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    Ok(())
}

/// What the client is given is used, or refused as an error of usage.
#[tokio::test]
async fn the_client_ignores_no_flag() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let (ca, key) = (fixture.ca(), fixture.files.argument("agent.key"));
    let plain = agent.url();
    for (flags, said) in [
        (vec!["node"], "with --ca or TASKSTATS_CA"),
        (vec!["--ca", "/nowhere", "node"], "reading --ca /nowhere failed"),
        (vec!["--ca", &key, "node"], "no certificate in PEM"),
        (vec!["--ca", &ca, "--key", &key, "node"], "--cert"),
        (vec!["--ca", &ca, "--target", &plain, "node"], "no effect"),
    ] {
        let answer = fixture.taskstatsctl(&agent, &flags).await?;
        assert_eq!(answer.code, Some(USAGE), "{flags:?}: {answer:?}");
        assert!(answer.stderr.contains(said), "{said} is not in {}", answer.stderr);
    }
    Ok(())
}

/// TLS 1.2 is spoken only where it was allowed.
#[tokio::test]
async fn the_oldest_version_is_a_choice() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let ca = fixture.authority.pem();
    let (old, new) =
        (Handshake::new(Version::V1_2, ca, None)?, Handshake::new(Version::V1_3, ca, None)?);
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    new.let_in(&url).await?;
    let refusal = old.with(&url).await.err().context("TLS 1.2 was spoken")?.to_string();
    assert!(refusal.contains("ProtocolVersion"), "{refusal}");
    let flags = [fixture.flags(), vec!["--tls-min-version".to_owned(), "1.2".to_owned()]].concat();
    let agent = Agent::start_with(flags).await?;
    let url = agent.listening_on("tcp://")?;
    old.let_in(&url).await?;
    new.let_in(&url).await?;
    Ok(())
}

/// Only who asks for HTTP/2 gets in.
#[tokio::test]
async fn other_protocols_are_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    let handshake = || Handshake::new(Version::V1_3, fixture.authority.pem(), None);
    let none: &[&[u8]] = &[];
    for protocols in [none, &[b"http/1.1".as_slice()]] {
        assert!(handshake()?.asking_for(protocols).let_in(&url).await.is_err(), "{protocols:?}");
    }
    handshake()?.asking_for(&[b"http/1.1".as_slice(), H2]).let_in(&url).await?;
    Ok(())
}

/// A client without TLS learns what to do, and the agent's log says what came.
#[tokio::test]
async fn a_plaintext_client_is_turned_away() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(fixture.flags()).await?;
    let url = agent.listening_on("tcp://")?;
    let arguments = ["--target", &url, "node"];
    let answer = Peer::run(&binaries::taskstatsctl()?, arguments).await?;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("tls://"), "{}", answer.stderr);
    fixture.failed_handshakes(&agent, 1).await?;
    assert!(agent.stderr()?.contains("other TLS or none"), "{}", agent.stderr()?);
    Ok(())
}

/// A TLS client of a plaintext port learns what to do.
#[tokio::test]
async fn a_plaintext_port_is_told_apart() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let answer = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("does not use TLS"), "{}", answer.stderr);
    Ok(())
}

/// Those who connect and say nothing do not keep others out, however many they are.
#[tokio::test]
async fn silent_connections_keep_nobody_out() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = [fixture.flags(), vec!["--handshake-timeout".to_owned(), "5m".to_owned()]].concat();
    let agent = Agent::start_with(flags).await?;
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

/// Who does not finish its handshake in time is let go.
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

/// The doctor tells what is wrong with certificates, and when they end.
#[tokio::test]
async fn the_doctor_looks_at_certificates() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let wanted = Wanted::for_agent().expired();
    fixture.files.write_pair("expired", &fixture.authority.sign(&wanted)?)?;
    for (certificate, key, sign, said) in [
        ("agent.crt", "agent.key", '✓', "expires at"),
        ("expired.crt", "expired.key", '✗', "expired at"),
        ("agent.crt", "expired.key", '✗', "make no pair"),
        ("missing.crt", "agent.key", '✗', "No such file"),
    ] {
        let (certificate, key) = (fixture.files.argument(certificate), fixture.files.argument(key));
        let tcp = ["--listen", "tcp://127.0.0.1:0", "doctor"];
        let arguments = [&tcp[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat();
        let answer = Peer::run(&binaries::taskstatsd()?, arguments).await?;
        let line = answer.stdout.lines().find(|line| line.contains("certificates"));
        let line = line.with_context(|| format!("no line on certificates in {answer:?}"))?;
        assert!(line.starts_with(sign) && line.contains(said), "{line}");
    }
    Ok(())
}

/// A certificate that has expired is told, and does not keep the other listeners from serving.
#[tokio::test]
async fn an_expired_certificate_is_told() -> Result<()> {
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
