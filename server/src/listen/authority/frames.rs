//! The frames of HTTP/2 that a client sends (RFC 9113, sections 3.4, 4.1, 6.2 and 6.10).

/// The octets that a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Size of a frame's header.
const HEADER: usize = 9;
/// Frame types.
const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;
/// Flags of HEADERS; CONTINUATION has the first one only.
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Octets of a stream's priority in HEADERS.
const PRIORITY_SIZE: usize = 5;
/// The bits of a stream's id.
const STREAM_ID: u32 = 0x7fff_ffff;

/// The next octets of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// So many octets outside of any header block.
    Other(usize),
    /// So many octets of a header block.
    Block(usize),
    /// The end of a header block, without octets.
    BlockEnd,
    /// Input that h2 refuses or that is not HTTP/2. Nothing after it is followed.
    Unknown,
}

/// Splits the octets of a connection into header blocks and everything else.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    /// The stream of a header block that continues in the next frame.
    continues: Option<u32>,
}

#[derive(Debug)]
enum State {
    /// Inside of the preface.
    Preface { matched: usize },
    /// Inside of a frame's header.
    Header { octets: [u8; HEADER], count: usize },
    /// Before the length of the padding.
    PadLength { payload: usize, priority: usize, ends: bool },
    /// Inside of a payload.
    Payload(Payload),
}

/// The octets of a payload that are left, in their order.
#[derive(Debug, Default)]
struct Payload {
    /// Octets before the fragment; all octets of a frame without a fragment.
    before: usize,
    /// Octets of the header block.
    fragment: usize,
    /// Octets after it.
    padding: usize,
    /// True if the header block ends with this frame.
    ends: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { state: State::Preface { matched: 0 }, continues: None }
    }
}

impl State {
    const NEXT_FRAME: Self = Self::Header { octets: [0; HEADER], count: 0 };
}

impl Frames {
    /// Returns what `bytes` begin with, or `None` when they are empty and nothing has ended.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Option<Span> {
        match &mut self.state {
            State::Payload(payload) => {
                if let Some(span) = payload.next(bytes) {
                    return Some(span);
                }
                if !payload.is_over() {
                    return None;
                }
                let ends = payload.ends;
                self.state = State::NEXT_FRAME;
                if ends { Some(Span::BlockEnd) } else { self.next(bytes) }
            }
            _ if bytes.is_empty() => None,
            State::Preface { matched } => {
                let rest = &PREFACE[*matched..];
                let count = rest.len().min(bytes.len());
                if rest[..count] != bytes[..count] {
                    return Some(Span::Unknown);
                }
                *matched += count;
                if *matched == PREFACE.len() {
                    self.state = State::NEXT_FRAME;
                }
                Some(Span::Other(count))
            }
            State::Header { octets, count } => {
                let read = (HEADER - *count).min(bytes.len());
                octets[*count..*count + read].copy_from_slice(&bytes[..read]);
                *count += read;
                if *count == HEADER {
                    let octets = *octets;
                    return self.begin(octets).map_or(Some(Span::Unknown), |state| {
                        self.state = state;
                        Some(Span::Other(read))
                    });
                }
                Some(Span::Other(read))
            }
            &mut State::PadLength { payload, priority, ends } => {
                let padding = usize::from(bytes[0]);
                let Some(fragment) = payload.checked_sub(1 + priority + padding) else {
                    return Some(Span::Unknown);
                };
                self.state = State::Payload(Payload { before: priority, fragment, padding, ends });
                Some(Span::Other(1))
            }
        }
    }

    /// Returns the state after a frame's header, or `None` when h2 refuses the frame where it is.
    fn begin(&mut self, header: [u8; HEADER]) -> Option<State> {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & STREAM_ID;
        let continues = self.continues.take();
        let ends = flags & END_HEADERS != 0;
        match (kind, continues) {
            (HEADERS, None) => {
                self.continues = (!ends).then_some(stream);
                headers(length, flags)
            }
            (CONTINUATION, Some(expected)) if expected == stream => {
                self.continues = (!ends).then_some(stream);
                Some(State::Payload(Payload { fragment: length, ends, ..Payload::default() }))
            }
            // A client does not push, and no other frame may interrupt a header block.
            (CONTINUATION | PUSH_PROMISE, _) | (_, Some(_)) => None,
            (_, None) => Some(State::Payload(Payload { before: length, ..Payload::default() })),
        }
    }
}

/// Returns the state after the header of a HEADERS frame.
fn headers(payload: usize, flags: u8) -> Option<State> {
    let ends = flags & END_HEADERS != 0;
    let priority = if flags & PRIORITY != 0 { PRIORITY_SIZE } else { 0 };
    if flags & PADDED != 0 {
        return (payload > 0).then_some(State::PadLength { payload, priority, ends });
    }
    let fragment = payload.checked_sub(priority)?;
    Some(State::Payload(Payload { before: priority, fragment, padding: 0, ends }))
}

impl Payload {
    fn is_over(&self) -> bool {
        self.before + self.fragment + self.padding == 0
    }

    fn next(&mut self, bytes: &[u8]) -> Option<Span> {
        if bytes.is_empty() || self.is_over() {
            return None;
        }
        let in_fragment = self.before == 0 && self.fragment > 0;
        let left = match self {
            Self { before: left @ 1.., .. }
            | Self { fragment: left @ 1.., .. }
            | Self { padding: left, .. } => left,
        };
        let count = bytes.len().min(*left);
        *left -= count;
        Some(if in_fragment { Span::Block(count) } else { Span::Other(count) })
    }
}
