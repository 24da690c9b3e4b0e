//! The kernel's own types (BTF): the offset of a member of a structure, and the id of a function.
//!
//! Remove this file when aya provides the members of a type.

use std::fs;
use std::io;
use std::path::Path;

/// The types of the running kernel; missing if it was built without CONFIG_DEBUG_INFO_BTF.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's BTF, for [`types`].
pub fn kernel() -> io::Result<Vec<u8>> {
    fs::read(Path::new(KERNEL))
}

/// All types of a BTF (Documentation/bpf/btf.rst), in the order of their ids, up to the first unreadable one. None if
/// the bytes are no BTF.
pub fn types(btf: &[u8]) -> Option<Types<'_>> {
    if btf.get(..2)? != MAGIC.to_ne_bytes() {
        return None;
    }
    let header = |at| number(btf, at).map(|number| number as usize);
    let length = header(4)?;
    let part = |start: usize, size: usize| {
        let start = length.checked_add(start)?;
        btf.get(start..start.checked_add(size)?)
    };
    Some(Types {
        left: part(header(8)?, header(12)?)?,
        names: part(header(16)?, header(20)?)?,
        last_id: 0,
    })
}

/// See [`types`].
#[derive(Debug)]
pub struct Types<'a> {
    left: &'a [u8],
    names: &'a [u8],
    last_id: u32,
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// Its id, from 1.
    pub id: u32,
    kind: u32,
    name: &'a [u8],
    /// Twelve bytes for each member of a structure; other contents for other kinds.
    members: &'a [u8],
    names: &'a [u8],
}

impl<'a> Iterator for Types<'a> {
    type Item = Type<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let info = number(self.left, 4)?;
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        let (fixed, each) = after(kind)?;
        let start = TYPE + fixed;
        let end = start + count * each;
        self.last_id += 1;
        let found = Type {
            id: self.last_id,
            kind,
            name: name_at(self.names, number(self.left, 0)?)?,
            members: self.left.get(start..end)?,
            names: self.names,
        };
        self.left = self.left.get(end..)?;
        Some(found)
    }
}

impl Type<'_> {
    /// Whether this type is the structure of this name.
    pub fn is_structure(&self, name: &str) -> bool {
        self.kind == STRUCT && is_named(self.name, name)
    }

    /// Whether this type is the function of this name.
    pub fn is_function(&self, name: &str) -> bool {
        self.kind == FUNCTION && is_named(self.name, name)
    }

    /// The offset of a structure's member, in bytes.
    pub fn member_offset(&self, member: &str) -> Option<u32> {
        self.members
            .chunks_exact(MEMBER)
            .filter(|entry| {
                let name = number(entry, 0).and_then(|at| name_at(self.names, at));
                name.is_some_and(|name| is_named(name, member))
            })
            .find_map(|entry| number(entry, 8))
            .map(|bits| bits / 8)
    }
}

/// The name that begins at an offset; each ends with a zero byte.
fn name_at(names: &[u8], at: u32) -> Option<&[u8]> {
    names.get(at as usize..)
}

fn is_named(name: &[u8], wanted: &str) -> bool {
    name.strip_prefix(wanted.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// linux/btf.h.
const MAGIC: u16 = 0xeb9f;
/// Bytes of a type before the part that depends on its kind.
const TYPE: usize = 12;
/// Bytes of a structure's member.
const MEMBER: usize = 12;
const STRUCT: u32 = 4;
const FUNCTION: u32 = 12;

/// The number of bytes that follow a type of this kind, and the number that follow for each of its members; none for an
/// unknown kind.
const fn after(kind: u32) -> Option<(usize, usize)> {
    Some(match kind {
        // Pointers, forward declarations, names, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => (0, 0),
        // Integers, variables, declaration tags.
        1 | 14 | 17 => (4, 0),
        // Arrays.
        3 => (12, 0),
        // Structures, unions, sections, enums of 64 bits.
        STRUCT | 5 | 15 | 19 => (0, MEMBER),
        // Enums, prototypes.
        6 | 13 => (0, 8),
        _ => return None,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, `struct pair { int left; int right; }`, and a function.
    fn bytes() -> Vec<u8> {
        let names = b"\0int\0pair\0left\0right\0swap\0";
        const SIZE: u32 = 4 * (4 + 3 + 6 + 3);
        let types: [u32; SIZE as usize / 4] = [
            1, // int
            1 << 24,
            4,
            32,
            5, // pair
            STRUCT << 24 | 2,
            8,
            10, // left
            1,
            0,
            15, // right
            1,
            32,
            21, // swap
            FUNCTION << 24,
            1,
        ];
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, SIZE, SIZE, 26];
        let words = header.iter().chain(&types).flat_map(|w| w.to_ne_bytes());
        words.chain(*names).collect()
    }

    fn member_offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
        types(btf)?
            .find(|found| found.is_structure(structure))?
            .member_offset(member)
    }

    #[test]
    fn a_member_is_found_with_its_offset() {
        assert_eq!(member_offset(&bytes(), "pair", "right"), Some(4));
        assert_eq!(member_offset(&bytes(), "pair", "left"), Some(0));
    }

    #[test]
    fn a_function_is_found_by_name() {
        let btf = bytes();
        let found = types(&btf)
            .expect("it is BTF")
            .find(|t| t.is_function("swap"));
        assert_eq!(found.map(|function| function.id), Some(3));
    }

    #[test]
    fn missing_types_are_none() {
        assert_eq!(member_offset(&bytes(), "pair", "middle"), None);
        assert_eq!(member_offset(&bytes(), "pai", "left"), None);
        assert_eq!(member_offset(&bytes(), "int", "left"), None);
        let is_int = |found: Type<'_>| found.is_function("int");
        assert!(!types(&bytes()).expect("it is BTF").any(is_int));
    }

    #[test]
    fn truncated_btf_is_none() {
        let bytes = bytes();
        for length in 0..bytes.len() {
            assert_eq!(member_offset(&bytes[..length], "pair", "right"), None);
        }
    }
}
