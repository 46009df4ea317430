//! From the bytes of a connection to the values in it.

use std::ops::Range;

use super::block::{Block, Part};
use super::frames::{Frames, Span};
use super::substitute::make_valid;

/// Bytes that are held back for a value, those of frames in between included. A longer value passes
/// unchanged; the path of a unix socket has 107 bytes at most, and 321 when each is percent-encoded.
pub(super) const MAX_HELD: usize = 1024;

/// Follows the bytes that a client sends, and makes the authorities among them valid.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    frames: Frames,
    block: Block,
    value: Option<Value>,
    is_off: bool,
}

/// A value that is not yet complete.
#[derive(Debug)]
struct Value {
    /// Its octets, as offsets into the bytes. Frames divide them.
    spans: Vec<Range<usize>>,
    huffman: bool,
}

impl Rewriter {
    /// Follows `bytes[from..]`, and rewrites values that end there. Returns how many of `bytes` are
    /// complete; the caller begins the next call with the others, followed by new ones.
    pub(super) fn follow(&mut self, bytes: &mut [u8], from: usize) -> usize {
        let mut at = from;
        while !self.is_off {
            let Some(span) = self.frames.next(&bytes[at..]) else { break };
            match span {
                Span::Other(count) => at += count,
                Span::Block(count) => {
                    self.follow_block(bytes, at..at + count);
                    at += count;
                }
                Span::BlockEnd if self.block.is_complete() => {}
                Span::BlockEnd | Span::Unknown => self.turn_off(),
            }
        }
        self.complete(bytes.len())
    }

    fn turn_off(&mut self) {
        self.is_off = true;
        self.value = None;
    }

    fn follow_block(&mut self, bytes: &mut [u8], mut span: Range<usize>) {
        while !span.is_empty() {
            match self.block.next(&bytes[span.clone()]) {
                Part::Other(count) => span.start += count,
                Part::Authority { count, ends, huffman } => {
                    let spans =
                        &mut self.value.get_or_insert(Value { spans: vec![], huffman }).spans;
                    spans.push(span.start..span.start + count);
                    span.start += count;
                    if let Some(value) = self.value.take_if(|_| ends) {
                        value.rewrite(bytes);
                    }
                }
                Part::Malformed => return self.turn_off(),
            }
        }
    }

    /// Returns how many of so many bytes need not be held back.
    fn complete(&mut self, length: usize) -> usize {
        let Some(value) = &mut self.value else { return length };
        let start = value.spans.first().map_or(length, |span| span.start);
        if length - start > MAX_HELD {
            self.block.ignore_value();
            self.value = None;
            return length;
        }
        for span in &mut value.spans {
            *span = span.start - start..span.end - start;
        }
        start
    }
}

impl Value {
    /// Rewrites the value, unless it is too long to be held back. It may have come by one read, but the
    /// outcome must not depend on that.
    fn rewrite(self, bytes: &mut [u8]) {
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else { return };
        if last.end - first.start > MAX_HELD {
            return;
        }
        if let [span] = &self.spans[..] {
            return make_valid(&mut bytes[span.clone()], self.huffman);
        }
        let octets = self.spans.iter().flat_map(|span| &bytes[span.clone()]);
        let mut octets: Vec<u8> = octets.copied().collect();
        make_valid(&mut octets, self.huffman);
        let mut rest = &octets[..];
        for span in self.spans {
            let (octets, after) = rest.split_at(span.len());
            bytes[span].copy_from_slice(octets);
            rest = after;
        }
    }
}
