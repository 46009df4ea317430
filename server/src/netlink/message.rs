//! Parsing of received bytes into messages and attributes, without copying.

/// `struct nlmsghdr` (`include/uapi/linux/netlink.h`).
const HEADER_BYTES: usize = 16;
/// `struct genlmsghdr` (`include/uapi/linux/genetlink.h`).
const GENERIC_HEADER_BYTES: usize = 4;
/// `struct nlattr`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`.
const ALIGNMENT: usize = 4;
/// `NLA_TYPE_MASK`: the type without the nested and byte-order flags.
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
/// `NLMSG_ERROR`: an acknowledgement or an error.
const KIND_ERROR: u16 = 2;

/// The fields of a message's header that a receiver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHeader {
    /// `nlmsg_type`: the family's id, or a control type.
    pub(crate) kind: u16,
    /// `nlmsg_seq`.
    pub(crate) sequence: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// The message's header.
    pub(crate) header: MessageHeader,
    payload: &'a [u8],
}

/// The content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind<'a> {
    /// `NLMSG_ERROR` with 0: the request with the same sequence number succeeded.
    Acknowledgement,
    /// `NLMSG_ERROR` with an errno: the request failed.
    Error(i32),
    /// A message of a generic netlink family.
    Generic {
        /// The family's command.
        command: u8,
        /// The attributes, which [`attributes`] iterates over.
        attributes: &'a [u8],
    },
    /// The message is too short for its type.
    Malformed,
}

impl<'a> Message<'a> {
    /// Parses the part after the header.
    #[must_use]
    pub(crate) fn kind(&self) -> MessageKind<'a> {
        if self.header.kind == KIND_ERROR {
            return match read_u32(self.payload, 0).map(u32::cast_signed) {
                Some(0) => MessageKind::Acknowledgement,
                Some(code) => MessageKind::Error(code.saturating_neg()),
                None => MessageKind::Malformed,
            };
        }
        match (self.payload.first(), self.payload.get(GENERIC_HEADER_BYTES..)) {
            (Some(&command), Some(attributes)) => MessageKind::Generic { command, attributes },
            _ => MessageKind::Malformed,
        }
    }
}

/// An iterator over the messages of a datagram. It ends at the first message that is truncated.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Starts at the first message of a datagram.
    #[must_use]
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(read_u32(self.rest, 0)?).ok()?;
        let kind = read_u16(self.rest, 4)?;
        let sequence = read_u32(self.rest, 8)?;
        let payload = self.rest.get(HEADER_BYTES..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(Message { header: MessageHeader { kind, sequence }, payload })
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    /// `nla_type`, without flags.
    pub(crate) kind: u16,
    /// The payload; for a nested attribute, attributes again.
    pub(crate) payload: &'a [u8],
}

/// An iterator over attributes. It ends at the first attribute that is truncated.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

/// Iterates over the attributes in `bytes`.
#[must_use]
pub(crate) fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(read_u16(self.rest, 0)?);
        let kind = read_u16(self.rest, 2)? & ATTRIBUTE_KIND_MASK;
        let payload = self.rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(Attribute { kind, payload })
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    #[test]
    fn two_messages_of_one_datagram_are_both_seen() {
        let mut datagram = message(31, 7, &[2, 1, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0]);
        datagram.extend(message(KIND_ERROR, 8, &(-3i32).to_ne_bytes()));
        let seen: Vec<_> = Messages::new(&datagram).collect();
        assert_eq!(seen[0].header, MessageHeader { kind: 31, sequence: 7 });
        let MessageKind::Generic { command: 2, attributes: bytes } = seen[0].kind() else {
            panic!("not generic: {:?}", seen[0].kind());
        };
        let attribute = Attribute { kind: 1, payload: &5u32.to_ne_bytes() };
        assert_eq!(attributes(bytes).collect::<Vec<_>>(), [attribute]);
        assert_eq!(seen[1].kind(), MessageKind::Error(3));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn an_acknowledgement_is_an_error_of_zero() {
        let datagram = message(KIND_ERROR, 1, &[0; 4]);
        assert_eq!(Messages::new(&datagram).next().unwrap().kind(), MessageKind::Acknowledgement);
    }

    #[test]
    fn a_nested_flag_does_not_change_the_attribute() {
        let bytes = [4, 0, 4, 0x80];
        assert_eq!(attributes(&bytes).next().unwrap().kind, u16::from_ne_bytes([4, 0]));
    }

    proptest! {
        /// A wrong length ends the iteration without a panic or an endless loop.
        #[test]
        fn any_bytes_can_be_walked(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages::new(&bytes) {
                if let MessageKind::Generic { attributes: inner, .. } = message.kind() {
                    prop_assert!(attributes(inner).count() <= bytes.len());
                }
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
