//! What somebody is told who sets up an agent for the first time, and takes a wrong turn.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries::{self, WORKSPACE};
use taskstats_tests::certificates::{Pair, Wanted};
use taskstats_tests::environments::{AS_NOBODY, NOBODY as NOBODY_USER};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::{Peer, ProgramOutput};
use taskstats_tests::tls_fixture::TlsFixture;

/// What a command that was called in the wrong way ends with.
const USAGE: i32 = 2;
/// Rules that are about nobody who comes this way, and flags of the way.
const LOCKED_OUT: [&[&str]; 3] = [
    &["--allow", "collector.example=query"],
    &["--allow", "anonymous=query", "--allow", "spiffe://example.org/*=watch"],
    &["--allow", "collector.example=node"],
];
/// The words that tell it.
const NOBODY: &str = "no rule of --allow matches a client that can connect";

async fn doctor(flags: &[&str]) -> Result<ProgramOutput> {
    Peer::run(&binaries::taskstatsd()?, [flags, &["doctor"]].concat()).await
}

/// The doctor's line on one thing.
fn line<'a>(said: &'a ProgramOutput, name: &str) -> Result<&'a str> {
    let mut lines = said.stdout.lines();
    lines.find(|line| line.contains(name)).with_context(|| format!("no {name} in {said:?}"))
}

/// Whoever reads the log by a machine reads why the agent did not start by the same machine, also where
/// the log leaves out nearly all.
#[tokio::test]
async fn why_it_does_not_start_is_a_line_of_json() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (arguments, what) in [
        (&["--history-bytes", "1KiB"][..], "out of range"),
        (&["--log", "off", "--listen", "unix:///no/such/folder/x.sock"], "/no/such/folder"),
        (&["--log", "loud"], "is not a filter"),
    ] {
        let launch = Launch::new()?.listen_privately().arguments(["--log-format", "json"]);
        let ending = launch.arguments(arguments).run().await?;
        ensure!(!ending.status.success(), "{ending:?}");
        let lines: Result<Vec<Value>, _> =
            ending.stderr.lines().map(serde_json::from_str).collect();
        let lines = lines.with_context(|| ending.stderr.clone())?;
        let last = lines.last().context("nothing was said")?;
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["message"].as_str().is_some_and(|said| said.contains(what)), "{last}");
    }
    Ok(())
}

/// Beside rules that count, each that is about nobody is told by its name, and that no probe comes in.
#[tokio::test]
async fn each_rule_about_nobody_is_told() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let flags = ["--allow", "uid:0=watch", "--allow", "alice=node"];
    let agent = Agent::start_with(flags).await?;
    let (said, examined) = (agent.stderr()?, doctor(&flags).await?);
    let examined = line(&examined, "settings")?;
    for words in ["--allow alice=… matches no client", "a user of this node is uid:N", "role node"]
    {
        assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
        assert!(examined.starts_with('!') && examined.contains(words), "{words}: {examined}");
    }
    assert!(!said.contains(NOBODY), "{said}");
    Ok(())
}

/// Rules by which nobody comes in who can connect are told at the start, and by the doctor.
#[tokio::test]
async fn rules_that_lock_everybody_out_are_told() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for flags in LOCKED_OUT {
        let agent = Agent::start_with(flags).await?;
        assert!(agent.stderr()?.contains(NOBODY), "{flags:?}: {}", agent.stderr()?);
        let said = doctor(flags).await?;
        let line = line(&said, "settings")?;
        assert!(line.starts_with('!') && line.contains(NOBODY), "{line}");
    }
    let tcp = ["--insecure", "--listen", "tcp://127.0.0.1:0", "--allow", "uid:0=query"];
    let agent = Launch::new()?.arguments(tcp).start().await?;
    assert!(agent.stderr()?.contains(NOBODY), "{}", agent.stderr()?);
    let both = Agent::start_with(tcp).await?;
    assert!(!both.stderr()?.contains(NOBODY), "{}", both.stderr()?);
    Ok(())
}

/// A directory that no hand-over can go through is not touched, and the log says what is missing.
#[tokio::test]
async fn a_state_folder_without_a_manager_is_left_alone() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    // In a network namespace, so that it gives up its rights and then ends by itself.
    let alone = ["env", "-u", "NOTIFY_SOCKET", "unshare", "--net"];
    let arguments = ["--user", "4242:4343", "--fail-fast", "--state-dir", &path];
    let launch = Launch::new()?.listen_privately().arguments(arguments).wrapped(alone);
    let ending = launch.run().await?;
    assert!(ending.stderr.contains("applied sandbox: user 4242:4343"), "{}", ending.stderr);
    assert!(ending.stderr.contains("disabled the hand-over"), "{}", ending.stderr);
    assert!(ending.stderr.contains("NOTIFY_SOCKET"), "{}", ending.stderr);
    let metadata = fs::metadata(directory.path())?;
    assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "it was given away");
    Ok(())
}

/// The doctor foresees that a key of root's alone will not be read again.
#[tokio::test]
async fn the_doctor_foresees_a_key_that_is_never_read_again() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let (certificate, key) =
        (fixture.files.argument("agent.crt"), fixture.files.argument("agent.key"));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--client-ca", &fixture.ca()];
    let flags = [&["--user", "4242:4343", "--listen", "tcp://127.0.0.1:0"][..], &tls].concat();
    for (mode, is_told) in [(0o600, true), (0o644, false)] {
        fs::set_permissions(fixture.files.path("agent.key"), Permissions::from_mode(mode))?;
        let said = doctor(&flags).await?;
        let told = line(&said, "sandbox")?;
        assert_eq!(told.contains("and none that replaces it"), is_told, "{mode:o}: {told}");
        assert_eq!(said.stdout.contains("chmod a+rx DIRECTORY"), is_told, "{}", said.stdout);
    }
    Ok(())
}

/// A directory that can be entered and not read cannot be watched: the doctor foresees what the agent then
/// says, which advises what helps.
#[tokio::test]
async fn a_folder_that_cannot_be_watched_is_told() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = fixture.mutual_flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    for name in ["agent.crt", "agent.key", "ca.crt"] {
        fs::set_permissions(fixture.files.path(name), Permissions::from_mode(0o644))?;
    }
    let as_user = [&["--user", "4242:4343"][..], &flags].concat();
    for (mode, is_told) in [(0o711, true), (0o755, false)] {
        fs::set_permissions(fixture.files.directory(), Permissions::from_mode(mode))?;
        let said = doctor(&as_user).await?;
        let told = line(&said, "sandbox")?;
        assert_eq!(told.contains("cannot read the directory"), is_told, "{mode:o}: {told}");
        assert_eq!(told.starts_with('!'), is_told, "{mode:o}: {told}");
        assert_eq!(said.stdout.contains("chmod a+rx DIRECTORY"), is_told, "{}", said.stdout);
        let log = Agent::start_with(&as_user).await?.stderr()?;
        assert_eq!(log.contains("so it cannot be watched"), is_told, "{mode:o}: {log}");
    }
    fs::set_permissions(fixture.files.directory(), Permissions::from_mode(0o711))?;
    let (wrapper, words) = AS_NOBODY.split_first().context("no wrapper")?;
    let program = binaries::taskstatsd()?.display().to_string();
    let words = [words, &[&program], &flags, &["doctor"]].concat();
    let said = Peer::run(wrapper.as_ref(), words).await?;
    let told = line(&said, "sandbox")?;
    assert!(told.starts_with('✗') && told.contains("does not start"), "{told}");
    let launch = Launch::new()?.arguments(&flags).wrapped(AS_NOBODY).owned_by(NOBODY_USER)?;
    let ending = launch.run().await?;
    assert_eq!(ending.status.code(), Some(1), "{}", ending.stderr);
    assert!(ending.stderr.contains("links to it need mode 755"), "{}", ending.stderr);
    assert!(!ending.stderr.contains("sysctl"), "{}", ending.stderr);
    Ok(())
}

/// The doctor sees the unit's settings and not the sockets that its socket unit passes: what it says of the
/// drop-in for TLS is no verdict on it.
#[tokio::test]
async fn the_doctor_does_not_condemn_the_drop_in() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    fixture.files.write_pair("tls", &fixture.authority.sign(&Wanted::for_agent())?)?;
    let unit = Path::new(WORKSPACE).join("deploy/systemd/taskstatsd-tls.conf");
    let unit = fs::read_to_string(unit)?;
    let directory = fixture.files.directory().display().to_string();
    let set = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let mut words: Vec<_> = set.map(|it| it.replace("/etc/taskstatsd/tls", &directory)).collect();
    ensure!(words.iter().any(|it| it.starts_with("TASKSTATSD_TLS_CERT=/")), "{unit}");
    words.push("TASKSTATSD_ALLOW=collector.example=query".to_owned());
    words.extend([binaries::taskstatsd()?.display().to_string(), "doctor".to_owned()]);
    let said = Peer::run("env".as_ref(), &words).await?;
    assert!(line(&said, "certificates")?.starts_with('✓'), "{said:?}");
    let told = line(&said, "settings")?;
    assert!(told.starts_with('!') && told.contains("unless a service manager"), "{told}");
    assert_eq!(said.code, Some(0), "{said:?}");
    Ok(())
}

/// Decimal and binary sizes are told apart by the log, which has them in binary.
#[tokio::test]
async fn a_size_is_told_as_it_was_taken() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (given, told) in [("16M", "15.3 MiB"), ("16MB", "15.3 MiB"), ("16Mi", "16.0 MiB")] {
        let agent = Agent::start_with(["--history-bytes", given]).await?;
        let log = agent.stderr()?;
        assert!(log.contains(&format!("history={told}")), "{given}: {log}");
    }
    Ok(())
}

/// Makes certificates by openssl, as people do.
async fn openssl(fixture: &TlsFixture, script: &str) -> Result<()> {
    let script = format!("cd {} && {script}", fixture.files.directory().display());
    let said = Peer::run("bash".as_ref(), ["-euc", &script]).await?;
    ensure!(said.code == Some(0), "{said:?}");
    Ok(())
}

/// The commands of the README make certificates that the commands beside them work with.
#[tokio::test]
async fn the_readme_s_certificates_work() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let readme = fs::read_to_string(format!("{WORKSPACE}/README.md"))?;
    let block = readme.split("<!-- openssl:begin -->\n```sh\n").nth(1);
    let script = block.and_then(|block| block.split("```").next()).context("no commands")?;
    openssl(&fixture, &format!("exec 2>/dev/null; {script}")).await?;
    let path = |name: &str| fixture.files.argument(name);
    let listen = ["--listen", "tcp://127.0.0.1:0", "--allow", "collector.example=node"];
    let files = ["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")];
    let ca = path("ca.crt");
    let flags = [&listen[..], &files, &["--client-ca", &ca]].concat();
    let agent = Launch::new()?.arguments(flags).start().await?;
    let log = agent.stderr()?;
    assert!(!log.contains("it has no") && !log.contains("it is"), "{log}");
    let client = ["--cert", &path("collector.crt"), "--key", &path("collector.key")];
    let named = ["--server-name", "node7", "--ca", &ca];
    let said = fixture.taskstatsctl(&agent, &[&named[..], &client, &["node"]].concat()).await?;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    Ok(())
}

/// A CA's own certificate, and one of version 1, as openssl makes them by itself, lead to words that say what
/// to do: for a client, for the agent, and for who connects to it.
#[tokio::test]
async fn certificates_that_openssl_makes_by_itself_are_explained() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    openssl(
        &fixture,
        "exec 2>/dev/null
         new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost'
         openssl req -x509 $new -days 9 -keyout own.key -out own.crt -addext subjectAltName=DNS:localhost
         openssl req $new -keyout old.key -out old.csr
         openssl x509 -req -in old.csr -CA own.crt -CAkey own.key -CAcreateserial -days 9 -out old.crt
         chmod a+r *.key",
    )
    .await?;
    let read = |name: &str| fs::read_to_string(fixture.files.path(name));
    let pair = |name: &str| -> Result<Pair> {
        let (certificate, key) = (read(&format!("{name}.crt"))?, read(&format!("{name}.key"))?);
        Ok(Pair { certificate, key })
    };
    fixture.files.write("ca.crt", &read("own.crt")?)?;
    for (name, words) in [("own", "CA:FALSE"), ("old", "-copy_extensions copyall")] {
        let agent = Agent::start_with(fixture.mutual_flags()).await?;
        let address = fixture.address(&agent)?;
        // Our own client would not even load a certificate of version 1.
        let shown = format!("-cert {name}.crt -key {name}.key -alpn h2 -connect {address}");
        openssl(&fixture, &format!("! openssl s_client {shown} <<<x >/dev/null 2>&1 || true"))
            .await?;
        fixture.failed_handshakes(&agent, 1).await?;
        assert!(agent.stderr()?.contains(words), "{name}: {}", agent.stderr()?);
    }

    let agent = Agent::start_with(fixture.flags()).await?;
    let (certificate, key) = (fixture.files.argument("old.crt"), fixture.files.argument("old.key"));
    let flags = ["--ca", &fixture.ca(), "--cert", &certificate, "--key", &key, "node"];
    let said = fixture.taskstatsctl(&agent, &flags).await?;
    assert!(said.stderr.contains("-copy_extensions copyall"), "{}", said.stderr);

    fixture.files.write_pair("agent", &pair("old")?)?;
    let ending = Launch::new()?.arguments(fixture.mutual_flags()).run().await?;
    assert_ne!(ending.status.code(), Some(USAGE), "{ending:?}");
    assert!(ending.stderr.contains("-copy_extensions copyall"), "{}", ending.stderr);

    fixture.files.write_pair("agent", &pair("own")?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    assert!(agent.stderr()?.contains("it is a CA's own certificate"), "{}", agent.stderr()?);
    let said = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert!(said.stderr.contains("CA:FALSE"), "{}", said.stderr);
    Ok(())
}
