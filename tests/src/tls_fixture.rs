//! A CA, and files for an agent and a client: the setup of tests with certificates.

use anyhow::{Context, Result};
use nix::unistd::geteuid;
use taskstats_proto::v1::{GetNodeRequest, GetNodeResponse, Tls};
use tonic::transport::Channel;

use crate::agent::Agent;
use crate::binaries;
use crate::certificates::{AGENT, Authority, Files, Pair, Wanted};
use crate::client::{Client, connect};
use crate::deadline::within;
use crate::peer::{Peer, ProgramOutput};

/// The name that certificates of agents have.
pub const NAME: &str = AGENT;

/// A CA and its files: `ca.crt`, `agent.crt` and `.key`, `client.crt` and `.key`.
#[derive(Debug)]
pub struct TlsFixture {
    /// The CA.
    pub authority: Authority,
    /// The directory of the files.
    pub files: Files,
    /// The content of `client.crt` and `client.key`.
    pub client: Pair,
}

impl TlsFixture {
    /// Creates all files.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn new() -> Result<Self> {
        let (authority, files) = (Authority::new("the CA")?, Files::new()?);
        files.write("ca.crt", authority.pem())?;
        files.write_pair("agent", &authority.sign(&Wanted::for_agent())?)?;
        let client = authority.sign(&Wanted::for_client("collector.example"))?;
        files.write_pair("client", &client)?;
        Ok(Self { authority, files, client })
    }

    /// Replaces all files by others, from a CA that did not sign the earlier ones.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn renew(&self) -> Result<()> {
        let authority = Authority::new("the next CA")?;
        self.files.write("ca.crt", authority.pem())?;
        self.files.write_pair("agent", &authority.sign(&Wanted::for_agent())?)?;
        self.files.write_pair("client", &authority.sign(&Wanted::for_client("collector.example"))?)
    }

    /// Returns the path of the CA's certificate.
    #[must_use]
    pub fn ca(&self) -> String {
        self.files.argument("ca.crt")
    }

    /// Returns the flags of an agent with TLS on any port that admits every client.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        [self.closed_flags(), admit_all_flags()].concat()
    }

    /// Returns the flags of an agent with TLS, without rules for clients.
    #[must_use]
    pub fn closed_flags(&self) -> Vec<String> {
        let (certificate, key) =
            (self.files.argument("agent.crt"), self.files.argument("agent.key"));
        let flags =
            ["--listen", "tcp://127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        flags.map(str::to_owned).to_vec()
    }

    /// Returns the flags of an agent that requires certificates of its clients.
    #[must_use]
    pub fn mutual_flags(&self) -> Vec<String> {
        [self.closed_flags(), vec!["--client-ca".to_owned(), self.ca()]].concat()
    }

    /// Returns where an agent serves by TLS, by the name that its certificate has.
    ///
    /// # Errors
    ///
    /// The agent has logged none.
    pub fn address(&self, agent: &Agent) -> Result<String> {
        let url = agent.listening_on("tcp://")?;
        let (_, port) = url.rsplit_once(':').context("no port")?;
        Ok(format!("{NAME}:{port}"))
    }

    /// Runs taskstatsctl against an agent's TLS port.
    ///
    /// # Errors
    ///
    /// The program does not end.
    pub async fn taskstatsctl(&self, agent: &Agent, arguments: &[&str]) -> Result<ProgramOutput> {
        let target = format!("tls://{}", self.address(agent)?);
        let all = match arguments.contains(&"--target") {
            true => arguments.to_vec(),
            false => [&["--target", target.as_str()], arguments].concat(),
        };
        Peer::run(&binaries::taskstatsctl()?, all).await
    }

    /// Waits until `count` handshakes have failed; by then the agent has logged them.
    ///
    /// # Errors
    ///
    /// The handshakes do not fail.
    pub async fn failed_handshakes(&self, agent: &Agent, count: u64) -> Result<()> {
        until_tls(&connect(&agent.url()).await?, |tls| tls.failed_handshakes >= count).await?;
        Ok(())
    }
}

/// Returns the flags that admit every client by TLS, and this process through the unix socket.
#[must_use]
pub fn admit_all_flags() -> Vec<String> {
    let me = format!("uid:{}=query,watch,node", geteuid());
    ["--allow", "anonymous=query,watch,node", "--allow", &me].map(str::to_owned).to_vec()
}

/// Calls `GetNode`.
///
/// # Errors
///
/// The call fails.
pub async fn node(channel: &Channel) -> Result<GetNodeResponse> {
    let mut client = Client::new(channel.clone());
    Ok(within("a response", client.get_node(GetNodeRequest {})).await??.into_inner())
}

/// Calls `GetNode` until its response is as wanted.
///
/// # Errors
///
/// The response never is, or a call fails.
pub async fn until_node(
    channel: &Channel,
    wanted: impl Fn(&GetNodeResponse) -> bool,
) -> Result<GetNodeResponse> {
    within("the node to be as wanted", async {
        loop {
            let node = node(channel).await?;
            if wanted(&node) {
                return Ok(node);
            }
        }
    })
    .await?
}

/// Calls `GetNode` until its TLS status is as wanted.
///
/// # Errors
///
/// As [`until_node`].
pub async fn until_tls(channel: &Channel, wanted: impl Fn(&Tls) -> bool) -> Result<Tls> {
    let node = until_node(channel, |node| node.tls.as_ref().is_some_and(&wanted)).await?;
    node.tls.context("no TLS status")
}
