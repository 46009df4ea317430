//! What tests with certificates begin with: a CA, and files for an agent and a client.

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
    /// Who signs.
    pub authority: Authority,
    /// Where the files are.
    pub files: Files,
    /// What is in `client.crt` and `client.key`.
    pub client: Pair,
}

impl TlsFixture {
    /// Makes all files.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn new() -> Result<Self> {
        let (authority, files) = (Authority::new("the CA")?, Files::new()?);
        files.write("ca.crt", authority.pem())?;
        files.write_pair("agent", &authority.sign(&Wanted::for_agent())?)?;
        let client = authority.sign(&Wanted::for_client("collector.example"))?;
        files.write_pair("client", &client)?;
        Ok(Self { authority, files, client })
    }

    /// Puts others in the place of all files, from a CA that did not sign the earlier ones.
    ///
    /// # Errors
    ///
    /// They cannot be written.
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

    /// Returns the flags of an agent with TLS on any port, which lets in everybody.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        [self.closed_flags(), everybody()].concat()
    }

    /// Returns the flags of an agent with TLS that do not say who may do what.
    #[must_use]
    pub fn closed_flags(&self) -> Vec<String> {
        let (certificate, key) =
            (self.files.argument("agent.crt"), self.files.argument("agent.key"));
        let flags =
            ["--listen", "tcp://127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        flags.map(str::to_owned).to_vec()
    }

    /// Returns the flags of an agent that wants certificates of its clients.
    #[must_use]
    pub fn mutual_flags(&self) -> Vec<String> {
        [self.closed_flags(), vec!["--client-ca".to_owned(), self.ca()]].concat()
    }

    /// Returns where an agent serves by TLS, by the name that its certificate has.
    ///
    /// # Errors
    ///
    /// It does not say where.
    pub fn address(&self, agent: &Agent) -> Result<String> {
        let url = agent.listening_on("tcp://")?;
        let (_, port) = url.rsplit_once(':').context("no port")?;
        Ok(format!("{NAME}:{port}"))
    }

    /// Runs taskstatsctl against an agent's TLS port.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn taskstatsctl(&self, agent: &Agent, arguments: &[&str]) -> Result<ProgramOutput> {
        let target = format!("tls://{}", self.address(agent)?);
        let all = match arguments.contains(&"--target") {
            true => arguments.to_vec(),
            false => [&["--target", target.as_str()], arguments].concat(),
        };
        Peer::run(&binaries::taskstatsctl()?, all).await
    }

    /// Waits until so many handshakes have failed: by then the agent's log has told of it.
    ///
    /// # Errors
    ///
    /// They do not fail.
    pub async fn failed_handshakes(&self, agent: &Agent, count: u64) -> Result<()> {
        until_tls(&connect(&agent.url()).await?, |tls| tls.failed_handshakes >= count).await?;
        Ok(())
    }
}

/// Returns the flags that let in whoever comes by TLS, and this process through the unix socket.
#[must_use]
pub fn everybody() -> Vec<String> {
    let me = format!("uid:{}=query,watch,node", geteuid());
    ["--allow", "anonymous=query,watch,node", "--allow", &me].map(str::to_owned).to_vec()
}

/// Asks the agent what it is.
///
/// # Errors
///
/// It does not answer.
pub async fn node(channel: &Channel) -> Result<GetNodeResponse> {
    let mut client = Client::new(channel.clone());
    Ok(within("an answer", client.get_node(GetNodeRequest {})).await??.into_inner())
}

/// Asks the agent again and again, until what it says of itself is as wanted.
///
/// # Errors
///
/// It never is, or a call fails.
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

/// The same for what it says of TLS.
///
/// # Errors
///
/// As [`until_node`].
pub async fn until_tls(channel: &Channel, wanted: impl Fn(&Tls) -> bool) -> Result<Tls> {
    let node = until_node(channel, |node| node.tls.as_ref().is_some_and(&wanted)).await?;
    node.tls.context("no word on TLS")
}
