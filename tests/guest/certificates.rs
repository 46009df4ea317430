//! Certificates whose time the clock passes.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use taskstats_tests::agent::Agent;
use taskstats_tests::certificates::{Pair, Wanted};
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::tls_fixture::TlsFixture;

/// The validity of a client's certificate: the clock is set beyond it and back.
const LASTS: Duration = Duration::from_secs(30 * 60);

/// Files for the agent, and a client whose certificate ends soon.
pub(crate) struct Certificates {
    fixture: TlsFixture,
    client: Pair,
    /// The time when they were signed.
    signed_at: SystemTime,
}

impl Certificates {
    pub(crate) fn new() -> Result<Self> {
        let fixture = TlsFixture::new()?;
        let wanted = Wanted::for_client("collector.example").ending_in(LASTS);
        let client = fixture.authority.sign(&wanted)?;
        Ok(Self { fixture, client, signed_at: SystemTime::now() })
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        self.fixture.mutual_flags()
    }

    /// Checks that the agent verifies the client by the current clock, and accepts others.
    pub(crate) async fn ensure_judged(&self, agent: &Agent) -> Result<()> {
        let is_over = self.signed_at.elapsed().is_ok_and(|passed| passed > LASTS);
        match self.come(agent, &self.client).await {
            Ok(()) => ensure!(!is_over, "a certificate that is over was let in"),
            Err(error) => {
                ensure!(is_over, "a certificate that is good was refused: {error:#}");
                ensure!(format!("{error:#}").contains("xpired"), "refused otherwise: {error:#}");
            }
        }
        let other = self.fixture.authority.sign(&Wanted::for_client("other.example"))?;
        self.come(agent, &other).await.context("another client")
    }

    async fn come(&self, agent: &Agent, client: &Pair) -> Result<()> {
        let ca = self.fixture.authority.pem();
        let handshake = Handshake::new(Version::V1_3, ca, Some(client))?;
        drop(handshake.first_byte(&agent.listening_on("tcp://")?).await?);
        Ok(())
    }
}
