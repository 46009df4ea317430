//! Generic netlink as far as taskstats needs it: one request, one reply, attributes.
//!
//! Layouts from the kernel's `include/uapi/linux/netlink.h` and `genetlink.h`.

use anyhow::{Context, Result, ensure};

/// Size of `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// Size of `struct genlmsghdr`.
const GENERIC_HEADER: usize = 4;
/// Size of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// Messages and attributes are aligned to this (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// Marks a request (`NLM_F_REQUEST`).
const FLAG_REQUEST: u16 = 1;
/// Requests an acknowledgement (`NLM_F_ACK`).
const FLAG_ACKNOWLEDGE: u16 = 4;
/// Message type of acknowledgements and errors (`NLMSG_ERROR`).
const TYPE_ERROR: u16 = 2;
/// The bits of an attribute's type that are its type (`NLA_TYPE_MASK`).
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// The content of a request before it is encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// Message type: the generic netlink family.
    pub(super) family: u16,
    /// Command of the family.
    pub(super) command: u8,
    /// Type of the only attribute.
    pub(super) attribute: u16,
    /// Value of the only attribute.
    pub(super) value: &'a [u8],
    /// True if the kernel must acknowledge.
    pub(super) acknowledge: bool,
}

/// One message from the kernel.
#[derive(Debug)]
pub(super) struct Message<'a> {
    kind: u16,
    /// Sequence number of the message.
    pub(super) sequence: u32,
    payload: &'a [u8],
}

/// One attribute of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// Its type.
    pub(super) kind: u16,
    /// Its value; for a nest, further attributes.
    pub(super) value: &'a [u8],
}

impl Request<'_> {
    /// Encodes the request.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let attribute_length = ATTRIBUTE_HEADER + self.value.len();
        let length = NETLINK_HEADER + GENERIC_HEADER + padded(attribute_length);
        let acknowledge = if self.acknowledge { FLAG_ACKNOWLEDGE } else { 0 };
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length)?.to_ne_bytes());
        bytes.extend(self.family.to_ne_bytes());
        bytes.extend((FLAG_REQUEST | acknowledge).to_ne_bytes());
        // Sequence and port id: one request at a time on each socket needs neither.
        bytes.extend([0; 8]);
        // Command, version 1, two reserved bytes.
        bytes.extend([self.command, 1, 0, 0]);
        bytes.extend(u16::try_from(attribute_length)?.to_ne_bytes());
        bytes.extend(self.attribute.to_ne_bytes());
        bytes.extend(self.value);
        bytes.resize(length, 0);
        Ok(bytes)
    }
}

impl<'a> Message<'a> {
    /// Parses the message at the beginning of a datagram.
    pub(super) fn decode(datagram: &'a [u8]) -> Result<Self> {
        let length = usize::try_from(read_u32(datagram, 0)?)?;
        ensure!(length <= datagram.len(), "message of {length} bytes was truncated");
        Ok(Self {
            kind: read_u16(datagram, 4)?,
            sequence: read_u32(datagram, 8)?,
            payload: datagram.get(NETLINK_HEADER..length).context("message without payload")?,
        })
    }

    /// Returns the errno that an acknowledgement carries, 0 for success; `None` for other messages.
    pub(super) fn errno(&self) -> Result<Option<i32>> {
        if self.kind != TYPE_ERROR {
            return Ok(None);
        }
        Ok(Some(read_u32(self.payload, 0)?.cast_signed().wrapping_neg()))
    }

    /// Returns the attributes behind the generic header.
    pub(super) fn attributes(&self) -> Result<Vec<Attribute<'a>>> {
        attributes(self.payload.get(GENERIC_HEADER..).context("message without generic header")?)
    }
}

impl<'a> Attribute<'a> {
    /// Returns the attributes inside a nest.
    pub(super) fn nested(&self) -> Result<Vec<Attribute<'a>>> {
        attributes(self.value)
    }
}

/// Returns the value of the attribute of type `kind`.
pub(super) fn find<'a>(attributes: &[Attribute<'a>], kind: u16) -> Option<Attribute<'a>> {
    attributes.iter().find(|attribute| attribute.kind == kind).copied()
}

/// Reads a u16 in host byte order.
pub(super) fn read_u16(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_ne_bytes(read(bytes, at)?))
}

/// Reads a u32 in host byte order.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_ne_bytes(read(bytes, at)?))
}

/// Reads a u64 in host byte order.
pub(super) fn read_u64(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_ne_bytes(read(bytes, at)?))
}

fn read<const SIZE: usize>(bytes: &[u8], at: usize) -> Result<[u8; SIZE]> {
    let slice = bytes.get(at..at + SIZE).context("record too short")?;
    Ok(slice.try_into()?)
}

fn attributes(mut bytes: &[u8]) -> Result<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    while bytes.len() >= ATTRIBUTE_HEADER {
        let length = usize::from(read_u16(bytes, 0)?);
        let kind = read_u16(bytes, 2)? & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER..length).context("attribute was truncated")?;
        found.push(Attribute { kind, value });
        bytes = bytes.get(padded(length)..).unwrap_or_default();
    }
    Ok(found)
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}
