//! Where the kernel keeps what the programs look at in its own structures: its BTF says it.
//!
//! To go when aya gives out the members of a type.

use std::fs;
use std::io;

/// The types of the kernel that runs; not there when it was built without CONFIG_DEBUG_INFO_BTF.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Where in a socket its cookie is, in bytes.
///
/// `sock_common` is the beginning of every kind of socket (include/net/sock.h).
pub fn cookie_offset() -> io::Result<u32> {
    let types = fs::read(KERNEL)?;
    member_offset(&types, "sock_common", "skc_cookie").ok_or_else(|| {
        let reason = format!("{KERNEL}: sock_common.skc_cookie is not there");
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// The offset of a structure's member, in bytes.
fn member_offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
    if btf.get(..2)? != MAGIC.to_ne_bytes() {
        return None;
    }
    let header = |at| number(btf, at).map(|number| number as usize);
    let length = header(4)?;
    let part = |start: usize, size: usize| {
        let start = length.checked_add(start)?;
        btf.get(start..start.checked_add(size)?)
    };
    let mut types = part(header(8)?, header(12)?)?;
    let names = part(header(16)?, header(20)?)?;
    let is_named = |name: u32, wanted: &str| {
        let name = names.get(name as usize..);
        name.and_then(|name| name.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    };
    while !types.is_empty() {
        let info = number(types, 4)?;
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        let (fixed, each) = after(kind)?;
        let end = TYPE + fixed + count * each;
        if kind == STRUCT && is_named(number(types, 0)?, structure) {
            let members = types.get(TYPE..end)?.chunks_exact(each);
            return members
                .filter(|entry| number(entry, 0).is_some_and(|name| is_named(name, member)))
                .find_map(|entry| number(entry, 8))
                .map(|bits| bits / 8);
        }
        types = types.get(end..)?;
    }
    None
}

/// linux/btf.h.
const MAGIC: u16 = 0xeb9f;
/// Bytes of a type before what its kind adds.
const TYPE: usize = 12;
const STRUCT: u32 = 4;

/// The bytes that follow a type of this kind, and those that follow for each of its members; none for a kind that we do not
/// know.
const fn after(kind: u32) -> Option<(usize, usize)> {
    Some(match kind {
        // Pointers, forward declarations, names, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => (0, 0),
        // Integers, variables, declaration tags.
        1 | 14 | 17 => (4, 0),
        // Arrays.
        3 => (12, 0),
        // Structures, unions, sections, enums of 64 bits.
        STRUCT | 5 | 15 | 19 => (0, 12),
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

    /// An integer, then `struct pair { int left; int right; }`.
    fn types() -> Vec<u8> {
        let names = b"\0int\0pair\0left\0right\0";
        const SIZE: u32 = 4 * (4 + 3 + 6);
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
        ];
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, SIZE, SIZE, 21];
        let words = header.iter().chain(&types).flat_map(|w| w.to_ne_bytes());
        words.chain(*names).collect()
    }

    #[test]
    fn a_member_is_found() {
        assert_eq!(member_offset(&types(), "pair", "right"), Some(4));
        assert_eq!(member_offset(&types(), "pair", "left"), Some(0));
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!(member_offset(&types(), "pair", "middle"), None);
        assert_eq!(member_offset(&types(), "pai", "left"), None);
        assert_eq!(member_offset(&types(), "int", "left"), None);
    }

    #[test]
    fn what_is_cut_off_is_none() {
        let types = types();
        for length in 0..types.len() {
            assert_eq!(member_offset(&types[..length], "pair", "right"), None);
        }
    }

    #[test]
    fn this_kernel_says_where_the_cookie_is() {
        assert_eq!(cookie_offset().expect("it has BTF") % 8, 0);
    }
}
