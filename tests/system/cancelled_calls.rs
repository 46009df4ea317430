//! Clients that cancel many calls at once.

use anyhow::Result;
use bytes::BytesMut;
use taskstats_proto::v1::Limit;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::service;
use taskstats_tests::http2::{Flags, Frame, Headers, Kind, Outcome, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::workload::Workload;

use crate::support::count_refused;

const WATCH_EXITS: &str = "/taskstats.v1.TaskstatsService/WatchExits";
/// The error code of a cancelled call (RFC 9113, section 7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Returns the frames that open and cancel streams, from stream 3 on.
fn cancelled(count: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    let headers = Headers::call(WATCH_EXITS);
    for number in 1..=count {
        let stream = 2 * number + 1;
        let open = Frame::new(Kind::Headers, stream, headers.bytes());
        open.with(Flags::END_HEADERS).put(&mut bytes);
        Frame::new(Kind::RstStream, stream, &CANCEL).put(&mut bytes);
    }
    bytes
}

/// A watch continues when its client opens and cancels some hundred calls beside it, all in one write.
#[tokio::test]
async fn cancelled_calls_do_not_end_a_watch_beside_them() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for (flags, count) in [(None, 30), (None, 300), (Some(["--max-streams", "2"]), 300)] {
        let agent = Agent::start_with(flags.into_iter().flatten()).await?;
        let mut raw = Raw::connected_with_preface(&agent.url()).await?;
        raw.begin(1, WATCH_EXITS).await?;
        raw.send(&Frame::new(Kind::Data, 1, &[0; 5]).with(Flags::END_STREAM)).await?;
        raw.read_until(Kind::Data).await?;
        assert_eq!(raw.exchange(&cancelled(count)).await?, Outcome::Read, "{count} cancelled");
        Workload::run(&["exit", "0"]).await?;
        raw.read_until(Kind::Data).await?;
        let mut client = service(&agent.url()).await?;
        assert_eq!(count_refused(&mut client, Limit::Protocol).await?, 0);
    }
    Ok(())
}
