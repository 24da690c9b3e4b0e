//! The calls of bpf(2) that aya does not offer: links that are pinned already, and a map of maps. And one of the C library's
//! that nobody else offers.
//!
//! To go when aya does (`attach_to_link` for all cgroup programs, `LinkInfo` with the cgroup).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_map_type, bpf_prog_info};

/// Gives the kernel back what the allocator keeps and nobody uses: reading a whole cluster leaves much of that.
pub fn give_memory_back() {
    // SAFETY: the function only looks at what is free.
    unsafe { libc::malloc_trim(0) };
}

/// Opens what is pinned at a path (BPF_OBJ_GET).
pub fn object_at(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    Ok(owned(fd))
}

/// Puts another program into a link, atomically (BPF_LINK_UPDATE): every call of the hook runs the old one or the new one.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_update.link_fd = number(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = number(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Takes a link's program out of its hook now (BPF_LINK_DETACH); removing the last pin does it only some time later.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = number(link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// The id of the cgroup that a link is attached to (BPF_OBJ_GET_INFO_BY_FD); 0 when the cgroup is gone.
pub fn cgroup_of(link: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = zeroed();
    attr.info.bpf_fd = number(link);
    attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).unwrap_or(u32::MAX);
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: any bytes are a value of each of the union's members; for a link of ours it is this one.
    Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
}

/// How often a program ran and for how many ns (BPF_OBJ_GET_INFO_BY_FD).
pub fn run_stats(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    // SAFETY: all bytes zero is a value of this plain C structure, and asks for nothing that needs room elsewhere.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = zeroed();
    attr.info.bpf_fd = number(program);
    attr.info.info_len = u32::try_from(size_of::<bpf_prog_info>()).unwrap_or(u32::MAX);
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok((info.run_cnt, info.run_time_ns))
}

/// Makes an array of one 32-bit value.
pub fn create_array() -> io::Result<OwnedFd> {
    create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, None)
}

/// Makes an array of one map that is shaped like `inner`.
pub fn create_array_of_maps(inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, Some(inner))
}

/// Puts a map into the first cell of an array of maps.
///
/// Returns only when every program that was running has ended (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
pub fn put_map(outer: BorrowedFd<'_>, inner: BorrowedFd<'_>) -> io::Result<()> {
    let key = 0_u32;
    let value = number(inner);
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = number(outer);
    attr.__bindgen_anon_2.key = (&raw const key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

fn create_map(kind: bpf_map_type, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_1.map_type = kind as u32;
    attr.__bindgen_anon_1.key_size = 4;
    attr.__bindgen_anon_1.value_size = 4;
    attr.__bindgen_anon_1.max_entries = 1;
    if let Some(inner) = inner {
        attr.__bindgen_anon_1.inner_map_fd = number(inner);
    }
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

fn zeroed() -> bpf_attr {
    // SAFETY: all bytes zero is a value of this union of plain C structures, and what the kernel wants of unused ones.
    unsafe { std::mem::zeroed() }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: `attr` is valid for its whole size, and what its fields point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}
