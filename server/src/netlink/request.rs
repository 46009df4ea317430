//! Requests to a generic netlink family, encoded by neli.

use std::io::{self, Cursor};

use neli::ToBytes;
use neli::consts::nl::NlmF;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::types::{Buffer, GenlBuffer};

/// The attribute of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestAttribute<'a> {
    /// An integer.
    U32(u16, u32),
    /// A string, without its terminating NUL.
    Text(u16, &'a str),
}

/// A request to a generic netlink family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The family's id.
    pub(crate) family: u16,
    /// The family's command.
    pub(crate) command: u8,
    /// The family's version.
    pub(crate) version: u8,
    /// The sequence number, which the reply repeats.
    pub(crate) sequence: u32,
    /// Requests an acknowledgement of success.
    pub(crate) acknowledge: bool,
    /// The only attribute.
    pub(crate) attribute: RequestAttribute<'a>,
}

/// An encoded request with an integer attribute. It is sent repeatedly with different integers.
#[derive(Clone, Debug)]
pub(crate) struct NumberRequest {
    bytes: Vec<u8>,
}

impl NumberRequest {
    /// The offset of `nlmsg_seq` in the message.
    const SEQUENCE: usize = 8;

    /// Encodes a request whose attribute is an integer.
    ///
    /// # Errors
    /// See [`Request::encode`].
    pub(crate) fn new(request: &Request<'_>) -> io::Result<Self> {
        Ok(Self { bytes: request.encode()? })
    }

    /// Sets the sequence number and the integer, and returns the encoded message.
    pub(crate) fn with(&mut self, sequence: u32, number: u32) -> &[u8] {
        if let Some(field) = self.bytes.get_mut(Self::SEQUENCE..).and_then(<[u8]>::first_chunk_mut)
        {
            *field = sequence.to_ne_bytes();
        }
        // The integer is the payload of the only attribute, at the end of the message.
        if let Some(field) = self.bytes.last_chunk_mut() {
            *field = number.to_ne_bytes();
        }
        &self.bytes
    }
}

impl Request<'_> {
    /// Encodes the request.
    ///
    /// # Errors
    /// `InvalidInput` if neli cannot encode it, for example because a string exceeds 64 KiB.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut attributes = GenlBuffer::<u16, Buffer>::new();
        let (kind, payload) = match self.attribute {
            RequestAttribute::U32(kind, number) => (kind, number.to_ne_bytes().to_vec()),
            RequestAttribute::Text(kind, text) => (kind, [text.as_bytes(), b"\0"].concat()),
        };
        let kind = AttrTypeBuilder::default().nla_type(kind).build().map_err(invalid)?;
        let attribute = NlattrBuilder::default()
            .nla_type(kind)
            .nla_payload(payload)
            .build()
            .map_err(invalid)?;
        attributes.push(attribute);
        let generic: Genlmsghdr<u8, u16> = GenlmsghdrBuilder::default()
            .cmd(self.command)
            .version(self.version)
            .attrs(attributes)
            .build()
            .map_err(invalid)?;
        let flags = if self.acknowledge { NlmF::REQUEST | NlmF::ACK } else { NlmF::REQUEST };
        let message = NlmsghdrBuilder::default()
            .nl_type(self.family)
            .nl_flags(flags)
            .nl_seq(self.sequence)
            .nl_payload(NlPayload::Payload(generic))
            .build()
            .map_err(invalid)?;
        let mut bytes = Cursor::new(Vec::new());
        message.to_bytes(&mut bytes).map_err(invalid)?;
        Ok(bytes.into_inner())
    }
}

fn invalid(error: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}
