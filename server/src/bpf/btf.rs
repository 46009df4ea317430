//! Offsets of kernel structures, from the type information that the kernel publishes about itself.
//!
//! Format: `Documentation/bpf/btf.rst`. `/sys/kernel/btf/vmlinux` is readable by every user.

use std::fs;
use std::io;
use std::path::Path;

/// The kernel's own type information.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Magic number of the header, in host byte order.
const MAGIC: u16 = 0xeb9f;
/// Bytes of a type's common part, and of a member of a structure.
const TYPE_BYTES: usize = 12;
/// Depth to which anonymous members are followed.
const MAX_DEPTH: u8 = 8;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;
const KIND_VARIABLE: u32 = 14;
const KIND_SECTION: u32 = 15;
const KIND_DECLARATION_TAG: u32 = 17;
const KIND_ENUM_64: u32 = 19;
const MAX_KIND: u32 = 19;

/// Offsets in bytes of the members that lead from a task to its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    /// `task_struct.cgroups`.
    pub(super) task_cgroups: u32,
    /// `css_set.dfl_cgrp`.
    pub(super) css_set_default_cgroup: u32,
    /// The entry of `css_set.subsys` for a controller that is mounted as cgroup v1, if one is.
    pub(super) css_set_v1_css: Option<u32>,
    /// `cgroup_subsys_state.cgroup`.
    pub(super) css_cgroup: u32,
    /// `cgroup.level`.
    pub(super) cgroup_level: u32,
    /// `cgroup.kn`.
    pub(super) cgroup_kn: u32,
    /// `kernfs_node.id`.
    pub(super) kn_id: u32,
}

/// Reasons for which offsets are not known.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel publishes no type information (`CONFIG_DEBUG_INFO_BTF`), or it cannot be read.
    #[error("reading {VMLINUX} failed: {0}")]
    Read(#[source] io::Error),
    /// The type information is not in the documented format.
    #[error("{VMLINUX} is malformed")]
    Malformed,
    /// A member is missing.
    #[error("{VMLINUX} has no {0}")]
    Missing(&'static str),
}

impl Offsets {
    /// Reads the offsets of the running kernel. `v1_controller` names a controller that is mounted as
    /// cgroup v1, such as `memory`.
    ///
    /// # Errors
    /// [`BtfError`], with the reason.
    pub(super) fn read(v1_controller: Option<&str>) -> Result<Self, BtfError> {
        let bytes = fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
        let types = Types::parse(&bytes).ok_or(BtfError::Malformed)?;
        Self::find(&types, v1_controller)
    }

    fn find(types: &Types<'_>, v1_controller: Option<&str>) -> Result<Self, BtfError> {
        let member = |structure: &str, name: &str, full: &'static str| {
            types.member(structure, name).ok_or(BtfError::Missing(full))
        };
        let css_set_v1_css = match v1_controller {
            None => None,
            Some(controller) => {
                let subsystems = member("css_set", "subsys", "css_set.subsys")?;
                let constant = format!("{controller}_cgrp_id");
                let index = types.enumerator("cgroup_subsys_id", &constant);
                let index = index.ok_or(BtfError::Missing("cgroup_subsys_id"))?;
                let entry = u32::try_from(size_of::<u64>()).unwrap_or(8);
                Some(subsystems + index * entry)
            }
        };
        Ok(Self {
            task_cgroups: member("task_struct", "cgroups", "task_struct.cgroups")?,
            css_set_default_cgroup: member("css_set", "dfl_cgrp", "css_set.dfl_cgrp")?,
            css_set_v1_css,
            css_cgroup: member("cgroup_subsys_state", "cgroup", "cgroup_subsys_state.cgroup")?,
            cgroup_level: member("cgroup", "level", "cgroup.level")?,
            cgroup_kn: member("cgroup", "kn", "cgroup.kn")?,
            kn_id: member("kernfs_node", "id", "kernfs_node.id")?,
        })
    }
}

/// One type: its kind, its name, and the bytes behind its common part.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    kind: u32,
    name: &'a str,
    /// Whether offsets of members share their word with a bit field's size.
    has_bit_fields: bool,
    rest: &'a [u8],
}

/// All types, by number; number 0 is `void`.
#[derive(Debug)]
struct Types<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let field = |index: usize| word(bytes, 4 + 4 * index).map(usize_of);
        let (header, type_start, type_bytes) = (field(0)?, field(1)?, field(2)?);
        let (string_start, string_bytes) = (field(3)?, field(4)?);
        let section = |start: usize, length: usize| {
            let start = header.checked_add(start)?;
            bytes.get(start..start.checked_add(length)?)
        };
        let strings = section(string_start, string_bytes)?;
        let mut rest = section(type_start, type_bytes)?;
        let mut types = Vec::new();
        while !rest.is_empty() {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let (kind, count) = (info >> 24 & 0x1f, usize_of(info & 0xffff));
            let length = TYPE_BYTES + extra_bytes(kind, count)?;
            types.push(Type {
                kind,
                name: text(strings, name),
                has_bit_fields: info >> 31 == 1,
                rest: rest.get(TYPE_BYTES..length)?,
            });
            // A member's type is a number, which stands in the members, so the reference is not kept.
            rest = &rest[length..];
        }
        Some(Self { types, strings })
    }

    /// The offset of a member in bytes, also through anonymous structures and unions.
    fn member(&self, structure: &str, name: &str) -> Option<u32> {
        let is_it = |kind: &&Type<'_>| kind.kind == KIND_STRUCT && kind.name == structure;
        let found = self.types.iter().filter(is_it);
        found.filter_map(|structure| self.member_of(*structure, name, MAX_DEPTH)).next()
    }

    fn member_of(&self, structure: Type<'a>, name: &str, depth: u8) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        structure.rest.chunks_exact(TYPE_BYTES).find_map(|member| {
            let (label, kind, offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let bits = if structure.has_bit_fields { offset & 0x00ff_ffff } else { offset };
            let label = text(self.strings, label);
            if label == name {
                return Some(bits / 8);
            }
            if !label.is_empty() {
                return None;
            }
            let inner = *self.types.get(usize_of(kind).checked_sub(1)?)?;
            if !matches!(inner.kind, KIND_STRUCT | KIND_UNION) {
                return None;
            }
            Some(bits / 8 + self.member_of(inner, name, depth)?)
        })
    }

    /// The value of an enumerator.
    fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let is_it = |kind: &&Type<'_>| kind.kind == KIND_ENUM && kind.name == enumeration;
        let mut values = self.types.iter().filter(is_it).flat_map(|kind| kind.rest.chunks_exact(8));
        values
            .find(|value| word(value, 0).is_some_and(|label| text(self.strings, label) == name))
            .and_then(|value| word(value, 4))
    }
}

/// Bytes behind the common part of a type; `None` for a kind that is not known.
fn extra_bytes(kind: u32, count: usize) -> Option<usize> {
    match kind {
        KIND_INT | KIND_VARIABLE | KIND_DECLARATION_TAG => Some(4),
        KIND_ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION | KIND_SECTION | KIND_ENUM_64 => Some(12 * count),
        KIND_ENUM | KIND_FUNCTION_PROTOTYPE => Some(8 * count),
        0..=MAX_KIND => Some(0),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn usize_of(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

/// Returns the string at an offset; empty if the table has none there.
fn text(strings: &[u8], offset: u32) -> &str {
    let tail = strings.get(usize_of(offset)..).unwrap_or_default();
    let end = tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len());
    str::from_utf8(&tail[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests run on a kernel with type information, as those of all distributions are.
    #[test]
    fn the_running_kernel_has_all_offsets() {
        let offsets = Offsets::read(Some("memory")).unwrap();
        let v2 = Offsets::read(None).unwrap();
        assert_eq!(v2, Offsets { css_set_v1_css: None, ..offsets });
        assert!(offsets.css_set_v1_css.unwrap() < 4096);
        assert_ne!(offsets.task_cgroups, 0);
    }

    #[test]
    fn a_controller_that_the_kernel_lacks_is_an_error() {
        let error = Offsets::read(Some("nosuch")).unwrap_err();
        assert!(matches!(error, BtfError::Missing("cgroup_subsys_id")), "{error}");
    }

    #[test]
    fn bytes_that_are_cut_or_changed_anywhere_are_no_panic() {
        let bytes = fs::read(VMLINUX).unwrap();
        for length in [0, 1, 2, 8, 23, 24, 25, 4096, bytes.len() / 2, bytes.len() - 1] {
            if let Some(types) = Types::parse(&bytes[..length]) {
                let _found = Offsets::find(&types, Some("memory"));
            }
        }
        let start = &bytes[..bytes.len().min(1 << 16)];
        for at in 0..256 {
            let mut changed = start.to_vec();
            changed[at] ^= 0xff;
            assert!(Types::parse(&changed).is_none_or(|types| types.types.len() < 1 << 20));
        }
    }
}
