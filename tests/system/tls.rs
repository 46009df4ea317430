//! TLS without certificates of clients: how it starts, and who gets in.

use std::time::Duration;

use anyhow::{Context, Result};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::certificates::{Authority, Files, Pair, Wanted};
use taskstats_tests::client::{Client, connect, connect_securely, service};
use taskstats_tests::handshake::{H2, Handshake, Version};
use taskstats_tests::load::Load;
use taskstats_tests::peer::{Peer, Said};
use taskstats_tests::{binaries, certificates, tools};

use crate::support::get_pid;

/// What a command that was called in the wrong way ends with.
const USAGE: i32 = 2;
/// Any port.
const TCP: &str = "tcp://127.0.0.1:0";

/// What tests with certificates begin with.
pub(crate) struct Scene {
    pub(crate) authority: Authority,
    pub(crate) files: Files,
}

impl Scene {
    /// A CA, a certificate for the agent, and one for a client.
    pub(crate) fn new() -> Result<Self> {
        let scene = Self { authority: Authority::new("the CA")?, files: Files::new()? };
        scene.files.write("ca.crt", scene.authority.pem())?;
        scene.files.write_pair("agent", &scene.authority.sign(&Wanted::for_agent())?)?;
        scene.files.write_pair("client", &scene.authority.sign(&Wanted::for_client("client"))?)?;
        Ok(scene)
    }

    pub(crate) fn pair(&self, wanted: &Wanted) -> Result<Pair> {
        self.authority.sign(wanted)
    }

    /// The flags of an agent with TLS, beside its private socket.
    pub(crate) fn flags(&self) -> Vec<String> {
        let (certificate, key) =
            (self.files.argument("agent.crt"), self.files.argument("agent.key"));
        ["--listen", TCP, "--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned).to_vec()
    }

    /// The same, with certificates of clients.
    pub(crate) fn mutual_flags(&self) -> Vec<String> {
        let mut flags = self.flags();
        flags.extend(["--client-ca".to_owned(), self.files.argument("ca.crt")]);
        flags
    }
}

/// Runs taskstatsctl against an agent's TLS port, by the name that its certificate has.
pub(crate) async fn taskstatsctl(agent: &Agent, arguments: &[&str]) -> Result<Said> {
    let url = agent.listening_on("tcp://")?;
    let port = url.rsplit_once(':').context("no port")?.1.to_owned();
    let target = format!("tls://{}:{port}", certificates::AGENT);
    let all = ["--target", &target].into_iter().chain(arguments.iter().copied());
    Peer::run(&binaries::taskstatsctl()?, all).await
}

/// A client that knows the CA is served, by both ways of saying the scheme.
#[tokio::test]
async fn a_client_that_knows_the_ca_is_served() -> Result<()> {
    let _load = Load::light()?;
    let scene = Scene::new()?;
    let agent = Agent::start_with(scene.flags()).await?;
    let said = taskstatsctl(&agent, &["--ca", &scene.files.argument("ca.crt"), "node"]).await?;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stdout.contains("localhost"), "{}", said.stdout);
    Ok(())
}

/// The node tells its certificate and counts handshakes.
#[tokio::test]
async fn the_node_tells_its_certificates() -> Result<()> {
    let _load = Load::light()?;
    let scene = Scene::new()?;
    let agent = Agent::start_with(scene.mutual_flags()).await?;
    let mut client = service(&agent.url()).await?;
    let node = client.get_node(taskstats_proto::v1::GetNodeRequest {}).await?.into_inner();
    let uses: Vec<_> =
        node.certificates.iter().map(|it| (it.r#use().as_str_name(), it.subject.clone())).collect();
    let expected = [
        ("CERTIFICATE_USE_SERVER", "CN=localhost".to_owned()),
        ("CERTIFICATE_USE_CLIENT_CA", "CN=the CA".to_owned()),
    ];
    assert_eq!(uses, expected);
    Ok(())
}
