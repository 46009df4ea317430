//! Mistakes in the configuration of a new agent, and the messages about them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries::{self, WORKSPACE};
use taskstats_tests::certificates::{Pair, Wanted};
use taskstats_tests::environments::{AS_USER, USER};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::{Peer, ProgramOutput};
use taskstats_tests::tls_fixture::TlsFixture;

/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Rules that match no client of these listeners, and the flags of the listeners.
const LOCKED_OUT: [&[&str]; 3] = [
    &["--allow", "collector.example=query"],
    &["--allow", "anonymous=query", "--allow", "spiffe://example.org/*=watch"],
    &["--allow", "collector.example=node"],
];
/// The warning about them.
const NOBODY: &str = "no rule of --allow matches a client that can connect";

async fn doctor(flags: &[&str]) -> Result<ProgramOutput> {
    Peer::run(&binaries::taskstatsd()?, [flags, &["doctor"]].concat()).await
}

/// The doctor's line on one thing.
fn line<'a>(output: &'a ProgramOutput, name: &str) -> Result<&'a str> {
    let mut lines = output.stdout.lines();
    lines.find(|line| line.contains(name)).with_context(|| format!("no {name} in {output:?}"))
}

/// A failed start is logged in the configured format, also at a level that leaves out nearly all
/// lines.
#[tokio::test]
async fn a_failed_start_is_a_json_line() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (arguments, what) in [
        (&["--history-bytes", "1KiB"][..], "out of range"),
        (&["--log", "off", "--listen", "unix:///no/such/directory/x.sock"], "/no/such/directory"),
        (&["--log", "loud"], "is not a filter"),
    ] {
        let launch = Launch::new()?.listen_privately().arguments(["--log-format", "json"]);
        let ending = launch.arguments(arguments).run().await?;
        ensure!(!ending.status.success(), "{ending:?}");
        let lines: Result<Vec<Value>, _> =
            ending.stderr.lines().map(serde_json::from_str).collect();
        let lines = lines.with_context(|| ending.stderr.clone())?;
        let last = lines.last().context("no message")?;
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["message"].as_str().is_some_and(|output| output.contains(what)), "{last}");
    }
    Ok(())
}

/// Each rule that cannot match any client is named in a warning, besides rules that can, and so is
/// a port without access for probes.
#[tokio::test]
async fn each_rule_that_matches_no_client_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let flags = ["--allow", "uid:0=watch", "--allow", "alice=node"];
    let agent = Agent::start_with(flags).await?;
    let (output, examined) = (agent.stderr()?, doctor(&flags).await?);
    let examined = line(&examined, "settings")?;
    for words in ["--allow alice=… matches no client", "a user of this node is uid:N", "role node"]
    {
        assert_eq!(output.matches(words).count(), 1, "{words}: {output}");
        assert!(examined.starts_with('!') && examined.contains(words), "{words}: {examined}");
    }
    assert!(!output.contains(NOBODY), "{output}");
    Ok(())
}

/// Rules that admit no client that can connect are reported at the start, and by the doctor.
#[tokio::test]
async fn rules_that_admit_no_client_are_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for flags in LOCKED_OUT {
        let agent = Agent::start_with(flags).await?;
        assert!(agent.stderr()?.contains(NOBODY), "{flags:?}: {}", agent.stderr()?);
        let output = doctor(flags).await?;
        let line = line(&output, "settings")?;
        assert!(line.starts_with('!') && line.contains(NOBODY), "{line}");
    }
    let tcp = ["--insecure", "--listen", "tcp://127.0.0.1:0", "--allow", "uid:0=query"];
    let agent = Launch::new()?.arguments(tcp).start().await?;
    assert!(agent.stderr()?.contains(NOBODY), "{}", agent.stderr()?);
    let both = Agent::start_with(tcp).await?;
    assert!(!both.stderr()?.contains(NOBODY), "{}", both.stderr()?);
    Ok(())
}

/// A state directory that cannot be used for a hand-over is not changed, and the log says what is
/// missing.
#[tokio::test]
async fn a_state_directory_without_a_manager_is_not_changed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    // In a network namespace, so that the agent drops its privileges and then ends by itself.
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
async fn the_doctor_predicts_a_key_that_cannot_be_reloaded() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let (certificate, key) =
        (fixture.files.argument("agent.crt"), fixture.files.argument("agent.key"));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--client-ca", &fixture.ca()];
    let flags = [&["--user", "4242:4343", "--listen", "tcp://127.0.0.1:0"][..], &tls].concat();
    for (mode, is_reported) in [(0o600, true), (0o644, false)] {
        fs::set_permissions(fixture.files.path("agent.key"), Permissions::from_mode(mode))?;
        let output = doctor(&flags).await?;
        let reported = line(&output, "sandbox")?;
        assert_eq!(
            reported.contains("and none that replaces it"),
            is_reported,
            "{mode:o}: {reported}"
        );
        assert_eq!(
            output.stdout.contains("chmod a+rx DIRECTORY"),
            is_reported,
            "{}",
            output.stdout
        );
    }
    Ok(())
}

/// A directory that can be entered but not read cannot be watched: the doctor predicts the agent's
/// warning, and its advice works.
#[tokio::test]
async fn a_directory_that_cannot_be_watched_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let flags = fixture.mutual_flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    for name in ["agent.crt", "agent.key", "ca.crt"] {
        fs::set_permissions(fixture.files.path(name), Permissions::from_mode(0o644))?;
    }
    let as_user = [&["--user", "4242:4343"][..], &flags].concat();
    for (mode, is_reported) in [(0o711, true), (0o755, false)] {
        fs::set_permissions(fixture.files.directory(), Permissions::from_mode(mode))?;
        let output = doctor(&as_user).await?;
        let reported = line(&output, "sandbox")?;
        assert_eq!(
            reported.contains("cannot read the directory"),
            is_reported,
            "{mode:o}: {reported}"
        );
        assert_eq!(reported.starts_with('!'), is_reported, "{mode:o}: {reported}");
        assert_eq!(
            output.stdout.contains("chmod a+rx DIRECTORY"),
            is_reported,
            "{}",
            output.stdout
        );
        let log = Agent::start_with(&as_user).await?.stderr()?;
        assert_eq!(log.contains("so it cannot be watched"), is_reported, "{mode:o}: {log}");
    }
    fs::set_permissions(fixture.files.directory(), Permissions::from_mode(0o711))?;
    let (wrapper, words) = AS_USER.split_first().context("no wrapper")?;
    let program = binaries::taskstatsd()?.display().to_string();
    let words = [words, &[&program], &flags, &["doctor"]].concat();
    let output = Peer::run(wrapper.as_ref(), words).await?;
    let reported = line(&output, "sandbox")?;
    assert!(reported.starts_with('✗') && reported.contains("does not start"), "{reported}");
    let launch = Launch::new()?.arguments(&flags).wrapped(AS_USER).owned_by(USER)?;
    let ending = launch.run().await?;
    assert_eq!(ending.status.code(), Some(1), "{}", ending.stderr);
    assert!(ending.stderr.contains("links to it need mode 755"), "{}", ending.stderr);
    assert!(!ending.stderr.contains("sysctl"), "{}", ending.stderr);
    Ok(())
}

/// The doctor sees the settings of the unit but not the sockets of its socket unit, so its report
/// on the TLS drop-in is not a failure.
#[tokio::test]
async fn the_doctor_does_not_fail_for_the_drop_in() -> Result<()> {
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
    let output = Peer::run("env".as_ref(), &words).await?;
    assert!(line(&output, "certificates")?.starts_with('✓'), "{output:?}");
    let reported = line(&output, "settings")?;
    assert!(
        reported.starts_with('!') && reported.contains("unless a service manager"),
        "{reported}"
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    Ok(())
}

/// The log shows decimal and binary sizes in binary units.
#[tokio::test]
async fn sizes_are_logged_in_binary_units() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (given, reported) in [("16M", "15.3 MiB"), ("16MB", "15.3 MiB"), ("16Mi", "16.0 MiB")] {
        let agent = Agent::start_with(["--history-bytes", given]).await?;
        let log = agent.stderr()?;
        assert!(log.contains(&format!("history={reported}")), "{given}: {log}");
    }
    Ok(())
}

/// Creates certificates with openssl.
async fn openssl(fixture: &TlsFixture, script: &str) -> Result<()> {
    let script = format!("cd {} && {script}", fixture.files.directory().display());
    let output = Peer::run("bash".as_ref(), ["-euc", &script]).await?;
    ensure!(output.code == Some(0), "{output:?}");
    Ok(())
}

/// The commands of the README create certificates that work with the commands next to them.
#[tokio::test]
async fn the_readme_s_certificates_work() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let readme = fs::read_to_string(format!("{WORKSPACE}/deploy/README.md"))?;
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
    let output = fixture.taskstatsctl(&agent, &[&named[..], &client, &["node"]].concat()).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    Ok(())
}

/// A CA's own certificate, and one of version 1, as openssl creates them by default, lead to
/// messages with advice: for a client, for the agent, and for a client that connects to it.
#[tokio::test]
async fn default_certificates_of_openssl_are_explained() -> Result<()> {
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
        // Our own client would refuse to load a certificate of version 1.
        let shown = format!("-cert {name}.crt -key {name}.key -alpn h2 -connect {address}");
        openssl(&fixture, &format!("! openssl s_client {shown} <<<x >/dev/null 2>&1 || true"))
            .await?;
        fixture.failed_handshakes(&agent, 1).await?;
        assert!(agent.stderr()?.contains(words), "{name}: {}", agent.stderr()?);
    }

    let agent = Agent::start_with(fixture.flags()).await?;
    let (certificate, key) = (fixture.files.argument("old.crt"), fixture.files.argument("old.key"));
    let flags = ["--ca", &fixture.ca(), "--cert", &certificate, "--key", &key, "node"];
    let output = fixture.taskstatsctl(&agent, &flags).await?;
    assert!(output.stderr.contains("-copy_extensions copyall"), "{}", output.stderr);

    fixture.files.write_pair("agent", &pair("old")?)?;
    let ending = Launch::new()?.arguments(fixture.mutual_flags()).run().await?;
    assert_ne!(ending.status.code(), Some(USAGE), "{ending:?}");
    assert!(ending.stderr.contains("-copy_extensions copyall"), "{}", ending.stderr);

    fixture.files.write_pair("agent", &pair("own")?)?;
    let agent = Agent::start_with(fixture.flags()).await?;
    assert!(agent.stderr()?.contains("it is a CA's own certificate"), "{}", agent.stderr()?);
    let output = fixture.taskstatsctl(&agent, &["--ca", &fixture.ca(), "node"]).await?;
    assert!(output.stderr.contains("CA:FALSE"), "{}", output.stderr);
    Ok(())
}
