//! Limits the frames of a connection that cost the agent work and are not part of a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame_cursor::FrameCursor;
use crate::security::Caller;

/// The time over which resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(10);
/// The resets in that time, for each stream that a connection may have, beyond which it is closed.
/// Clients cancel many calls now and then, and attackers do nothing else.
const RESETS_PER_STREAM: u32 = 8;
/// The smallest such number, where connections have few streams.
const MIN_RESETS: u32 = 1024;
/// The payload that costs as much as another frame. Frames without a use have some bytes.
const PAYLOAD_UNIT: u32 = 64;
/// The window updates that clients may send for a frame with a part of a response: one for the stream,
/// and one for the connection. A frame can have several messages, and some clients send updates for each;
/// so there is one more for each [`PAYLOAD_UNIT`].
const UPDATES_OF_A_FRAME: u32 = 2;
/// The cost that responses can allow in advance. Clients respond to what they receive within a window.
const MAX_CREDIT: u32 = 4096;

/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// The excess of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// Streams that are reset.
    Resets,
    /// Frames without a call, such as `PING`, `SETTINGS` and unknown types.
    Control,
}

/// Counts the frames of one connection.
///
/// A frame that is not part of a call has a cost: 1, and 1 for each 64 bytes of its payload. `DATA`,
/// `HEADERS` and `CONTINUATION` frames have one only if they are empty. What the agent sends as responses
/// allows clients to send window updates. Any further cost counts against the rate of the principal.
#[derive(Debug)]
pub(super) struct FrameMeter {
    received: FrameCursor,
    sent: FrameCursor,
    resets: ResetMeter,
    /// The cost that responses have allowed.
    credit: u32,
    caller: Arc<Caller>,
}

/// Counts `RST_STREAM` frames.
#[derive(Debug)]
struct ResetMeter {
    max_resets: u32,
    resets: u32,
    window: Instant,
}

impl FrameMeter {
    pub(super) fn new(max_streams: u32, caller: Arc<Caller>) -> Self {
        Self {
            received: FrameCursor::PREFACE,
            sent: FrameCursor::FRAME,
            resets: ResetMeter::new(max_streams, Instant::now()),
            credit: 0,
            caller,
        }
    }

    /// Counts received bytes.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Option<Flood> {
        let (mut resets, mut cost) = (0, 0);
        self.received.advance(bytes, |kind, length| match kind {
            RST_STREAM => resets += 1,
            DATA | HEADERS | CONTINUATION if length > 0 => {}
            _ => cost += 1 + length / PAYLOAD_UNIT,
        });
        if resets > 0 && self.resets.count(resets, Instant::now()) {
            return Some(Flood::Resets);
        }
        (!self.spend(cost)).then_some(Flood::Control)
    }

    /// Counts sent bytes.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let credit = &mut self.credit;
        self.sent.advance(bytes, |kind, length| {
            if matches!(kind, DATA | HEADERS) {
                let allowed = UPDATES_OF_A_FRAME + length / PAYLOAD_UNIT;
                *credit = credit.saturating_add(allowed).min(MAX_CREDIT);
            }
        });
    }

    /// Returns true if no frame was sent in part.
    pub(super) const fn is_between_sent_frames(&self) -> bool {
        self.sent.is_between_frames()
    }

    fn spend(&mut self, cost: u32) -> bool {
        let rest = cost.saturating_sub(self.credit);
        self.credit -= cost - rest;
        rest == 0 || self.caller.acquire_frames(rest).is_ok()
    }
}

impl ResetMeter {
    fn new(max_streams: u32, now: Instant) -> Self {
        let max_resets = max_streams.saturating_mul(RESETS_PER_STREAM).max(MIN_RESETS);
        Self { max_resets, resets: 0, window: now }
    }

    /// Counts resets, and returns true if there are too many.
    fn count(&mut self, resets: u32, now: Instant) -> bool {
        if now.duration_since(self.window) >= RESET_WINDOW {
            (self.window, self.resets) = (now, 0);
        }
        self.resets = self.resets.saturating_add(resets);
        self.resets > self.max_resets
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::caller;
    use super::*;
    use crate::security::FRAME_BURST;

    const STREAMS: u32 = 256;
    const PING: u8 = 6;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![0; length.into()]].concat()
    }

    fn meter(caller: &Arc<Caller>) -> FrameMeter {
        let mut meter = FrameMeter::new(STREAMS, Arc::clone(caller));
        assert_eq!(meter.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), None);
        meter
    }

    /// Returns how many frames are accepted before the flood is found.
    fn accepted(meter: &mut FrameMeter, frame: &[u8]) -> u32 {
        let mut frames = 0;
        while meter.received(frame).is_none() {
            frames += 1;
            assert!(frames < 2 * FRAME_BURST, "a flood is not found");
        }
        frames
    }

    #[test]
    fn resets_have_a_limit_in_a_window() {
        let start = Instant::now();
        let mut meter = ResetMeter::new(STREAMS, start);
        for _ in 0..STREAMS * RESETS_PER_STREAM {
            assert!(!meter.count(1, start));
        }
        assert!(meter.count(1, start + RESET_WINDOW / 2));
        assert!(!meter.count(1, start + 2 * RESET_WINDOW));
    }

    #[test]
    fn frames_without_a_call_have_a_rate_for_all_connections_of_a_principal() {
        for frame in [frame(PING, 8), frame(77, 0), frame(DATA, 0), frame(CONTINUATION, 0)] {
            let caller = caller();
            assert!(accepted(&mut meter(&caller), &frame) >= FRAME_BURST);
            assert!(accepted(&mut meter(&caller), &frame) < FRAME_BURST / 2);
        }
    }

    #[test]
    fn a_payload_costs_as_much_as_more_frames() {
        let frames = accepted(&mut meter(&caller()), &frame(77, 128));
        assert!((FRAME_BURST / 3..FRAME_BURST / 2).contains(&frames), "{frames}");
    }

    #[test]
    fn calls_have_no_cost() {
        let mut meter = meter(&caller());
        for _ in 0..2 * FRAME_BURST {
            assert_eq!(meter.received(&frame(HEADERS, 50)), None);
            assert_eq!(meter.received(&frame(DATA, 5)), None);
        }
    }

    #[test]
    fn responses_allow_window_updates() {
        const WINDOW_UPDATE: u8 = 8;
        let mut meter = meter(&caller());
        for _ in 0..2 * FRAME_BURST {
            meter.sent(&frame(DATA, 200));
            for _ in 0..UPDATES_OF_A_FRAME {
                assert_eq!(meter.received(&frame(WINDOW_UPDATE, 4)), None);
            }
        }
        // Acknowledgements of PINGs allow nothing.
        meter.credit = 0;
        meter.sent(&frame(PING, 8));
        assert_eq!(meter.credit, 0);
    }
}
