//! The agent as the Kubernetes manifests configure it with certificates: its environment variables,
//! its user, the modes of the mounted files, and the kubelet's way to replace them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use taskstats_tests::agent::Launch;
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::certificates::Wanted;
use taskstats_tests::client::{Client, connect_securely};
use taskstats_tests::directory;
use taskstats_tests::environments::{AS_USER, CHILD_PID, USER, Wrapper};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::tls_fixture::{NAME, TlsFixture, until_node};
use taskstats_tests::tools;
use tempfile::TempDir;

use crate::command::taskstatsctl;
use crate::support::get_pid;

/// The container's root: one capability, and not that of reading the files of others.
const CONTAINER_ROOT: Wrapper =
    &["setpriv", "--groups=61000", "--bounding-set=-all,+net_admin", "--inh-caps=-all"];
/// The node's directory of the socket, in the manifests.
const SOCKET_DIRECTORY: &str = "/run/taskstatsd/";
/// The port there, and any other.
const PORTS: [&str; 2] = ["0.0.0.0:8275", "127.0.0.1:0"];

/// The manifests with components, on one page.
async fn rendered(components: &[&str]) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let base = directory.path().join("base");
    let copied = ["-r", &format!("{WORKSPACE}/deploy/kubernetes"), &base.display().to_string()];
    ensure!(Peer::run("cp".as_ref(), copied).await?.code == Some(0), "the manifests are not there");
    let components: Vec<_> = components.iter().map(|name| format!("base/{name}")).collect();
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [base]\n\
         components: [{}]\n",
        components.join(", ")
    );
    fs::write(directory.path().join("kustomization.yaml"), kustomization)?;
    let path = directory.path().display().to_string();
    let output = Peer::run(&tools::kubectl()?, ["kustomize", &path]).await?;
    ensure!(output.code == Some(0), "{output:?}");
    Ok(output.stdout)
}

/// The value of a key that stands once.
fn only<'a>(manifest: &'a str, key: &str) -> Result<&'a str> {
    let mut found = manifest.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = found.next().with_context(|| format!("no {key} in {manifest}"))?;
    ensure!(found.next().is_none(), "{key} stands twice in {manifest}");
    Ok(value.trim())
}

/// The agent's variables.
fn variables(manifest: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = manifest.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("- name: TASKSTATSD_").map(|_| &pair[0][8..])?;
        Some((name, pair[1].strip_prefix("value: ")?.trim_matches('"')))
    });
    pairs.collect()
}

/// The arguments of a probe's command.
fn probe<'a>(manifest: &'a str, name: &str) -> Result<Vec<&'a str>> {
    let mut lines = manifest.lines().map(str::trim);
    lines.find(|line| *line == format!("{name}:")).with_context(|| format!("no {name}"))?;
    ensure!(
        lines.next() == Some("exec:") && lines.next() == Some("command:"),
        "{name} runs nothing"
    );
    let words = lines.map_while(|line| line.strip_prefix("- ")).map(|word| word.trim_matches('"'));
    let words: Vec<_> = words.collect();
    ensure!(words.first() == Some(&"/usr/bin/taskstatsctl"), "{words:?}");
    Ok(words[1..].to_vec())
}

/// Where exits cannot be watched a restart does not help: the agent is not ready, but live.
#[tokio::test]
async fn probes_distinguish_an_agent_that_cannot_watch_from_a_dead_one() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let manifest = rendered(&[]).await?;
    for (environment, watches) in [(&[][..], true), (CHILD_PID, false)] {
        let agent = Launch::new()?.listen_privately().wrapped(environment).start().await?;
        for (name, passes) in
            [("startupProbe", true), ("livenessProbe", true), ("readinessProbe", watches)]
        {
            let output = taskstatsctl(&agent.url(), &probe(&manifest, name)?).await?;
            assert_eq!(output.code == Some(0), passes, "{name}: {output:?}");
        }
    }
    Ok(())
}

/// A volume as the kubelet creates and updates it: a link to the newest of its directories, with a
/// group owner.
struct Volume {
    directory: TempDir,
    mode: u32,
    group: u32,
    written: u32,
}

impl Volume {
    fn of(manifest: &str) -> Result<Self> {
        let mode = only(manifest, "defaultMode:")?.parse()?;
        let group = only(manifest, "fsGroup:")?.parse()?;
        let volume = Self { directory: tempfile::tempdir()?, mode, group, written: 0 };
        volume.give(volume.directory.path(), 0o2755)?;
        Ok(volume)
    }

    fn give(&self, path: &Path, mode: u32) -> Result<()> {
        chown(path, Some(0), Some(self.group))?;
        Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the files of the secret.
    fn write(&mut self, secret: &[(&str, &str)]) -> Result<()> {
        let (old, new) = (format!("..{}", self.written), format!("..{}", self.written + 1));
        self.written += 1;
        fs::create_dir(self.path(&new))?;
        for (name, text) in secret {
            let file = self.path(&new).join(name);
            fs::write(&file, text)?;
            self.give(&file, self.mode)?;
            if !self.path(name).is_symlink() {
                symlink(format!("..data/{name}"), self.path(name))?;
            }
        }
        self.give(&self.path(&new), 0o2750)?;
        symlink(&new, self.path("..data_tmp"))?;
        fs::rename(self.path("..data_tmp"), self.path("..data"))?;
        if self.path(&old).exists() {
            fs::remove_dir_all(self.path(&old))?;
        }
        Ok(())
    }
}

/// Starts the agent of the manifests as `user`, updates the secret, and checks that the agent loads
/// it.
async fn serve_and_rotate(components: &[&str], user: Wrapper, uid: u32) -> Result<()> {
    let manifest = rendered(components).await?;
    assert_eq!(only(&manifest, "runAsUser:")?.parse::<u32>()?, uid);
    let mounted = only(&manifest, "- mountPath: /etc")?;
    let fixture = TlsFixture::new()?;
    let mut volume = Volume::of(&manifest)?;
    let sign = |name: &str| fixture.authority.sign(&Wanted::for_agent().and_name(name));
    let put = |volume: &mut Volume, name: &str| -> Result<()> {
        let pair = sign(name)?;
        let certificates = [("tls.crt", &*pair.certificate), ("tls.key", &*pair.key)];
        volume.write(&[&certificates[..], &[("ca.crt", fixture.authority.pem())]].concat())
    };
    put(&mut volume, "first.example")?;

    let sockets = directory::readable_to_all()?;
    std::os::unix::fs::chown(sockets.path(), Some(uid), Some(uid))?;
    let directory = volume.directory.path().display().to_string();
    let here = |value: &str| {
        let value = value.replace(&format!("/etc{mounted}"), &directory);
        let value = value.replace(SOCKET_DIRECTORY, &format!("{}/", sockets.path().display()));
        value.replace(PORTS[0], PORTS[1])
    };
    let variables: Vec<_> = variables(&manifest);
    ensure!(variables.iter().any(|(name, _)| *name == "TASKSTATSD_TLS_KEY"), "{manifest}");
    let set = variables.iter().map(|(name, value)| format!("{name}={}", here(value)));
    let wrapper = ["env".to_owned()].into_iter().chain(set).chain(user.iter().map(|&it| it.into()));
    let launch = Launch::new()?.owned_by(uid)?.wrapped(wrapper.collect::<Vec<String>>());
    let agent = launch.start().await?;
    let log = agent.stderr()?;
    assert!(!log.contains("cannot be read without root"), "{log}");

    let (url, ca) = (agent.listening_on("tcp://")?, fixture.authority.pem());
    let open = connect_securely(&url, ca, Some(&fixture.client), NAME).await?;
    get_pid(&mut Client::new(open.clone()), std::process::id()).await?;
    put(&mut volume, "second.example")?;
    let uses = |names: &[String]| names.iter().any(|name| name == "second.example");
    until_node(&open, |node| node.certificates.iter().any(|it| uses(&it.dns_names))).await?;
    drop(connect_securely(&url, ca, Some(&fixture.client), "second.example").await?);
    Ok(())
}

/// Root without the capability to read all files reads them as their owner.
#[tokio::test]
async fn a_mounted_secret_is_read_and_updated_as_root() -> Result<()> {
    let _lock = MachineLock::shared()?;
    serve_and_rotate(&["mutual-tls"], CONTAINER_ROOT, 0).await
}

/// The user of the non-root component reads them by their group.
#[tokio::test]
async fn a_mounted_secret_is_read_and_updated_without_root() -> Result<()> {
    let _lock = MachineLock::shared()?;
    serve_and_rotate(&["non-root", "mutual-tls"], AS_USER, USER).await
}
