//! The calls of bpf(2) that aya does not offer: pinned links, batches of elements, and a map of maps. Also one call of
//! the C library that no other crate offers.
//!
//! Remove each when aya offers it (`attach_to_link` for all cgroup programs, `LinkInfo` with the cgroup).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info, bpf_map_type, bpf_prog_info,
};

/// Returns unused memory of the allocator to the kernel: reading a whole cluster leaves much of it.
pub fn give_memory_back() {
    // SAFETY: the function only accesses free memory.
    unsafe { libc::malloc_trim(0) };
}

/// Opens the object that is pinned at a path (BPF_OBJ_GET).
pub fn object_at(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    Ok(owned(fd))
}

/// Puts another program into a link, atomically (BPF_LINK_UPDATE): every call of the hook runs the old one or the new
/// one.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_update.link_fd = number(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = number(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches the program of a link at once (BPF_LINK_DETACH). Removing the last pin detaches it only some time later.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = number(link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// The current state of a link (BPF_OBJ_GET_INFO_BY_FD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub id: u32,
    pub program: u32,
    /// The id of its cgroup; 0 if the link is detached, or the cgroup was removed.
    pub cgroup: u64,
}

pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    object_info(link, &mut info)?;
    Ok(LinkInfo {
        id: info.id,
        program: info.prog_id,
        // SAFETY: any bytes are a value of each of the union's members; for a link of ours it is this one.
        cgroup: unsafe { info.__bindgen_anon_1.cgroup.cgroup_id },
    })
}

/// The id of a map (BPF_OBJ_GET_INFO_BY_FD).
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut info: bpf_map_info = unsafe { std::mem::zeroed() };
    object_info(map, &mut info)?;
    Ok(info.id)
}

fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed();
    attr.info.bpf_fd = number(object);
    attr.info.info_len = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
    attr.info.info = std::ptr::from_mut(info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Attaches a program to a cgroup, after the programs that are attached already (BPF_LINK_CREATE).
///
/// The flags are 0, as the kernel requires for a link; several links on one hook work nevertheless.
pub fn create_link(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: bpf_attach_type,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_fd = number(cgroup);
    attr.link_create.attach_type = hook as u32;
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Attaches a program to the ingress of a device, after the programs that are attached already (BPF_LINK_CREATE).
///
/// `device`: its index in the calling thread's network namespace. Needs Linux 6.6.
pub fn create_tcx_link(program: BorrowedFd<'_>, device: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = device;
    attr.link_create.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Attaches a program to a tracepoint (BPF_RAW_TRACEPOINT_OPEN), until the returned descriptor is closed.
pub fn attach_to_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = number(program);
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// The index of the device that a tcx link is attached to; 0 if it was detached, or the device removed.
pub fn tcx_device(link: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    object_info(link, &mut info)?;
    // SAFETY: any bytes are a value of each of the union's members; for such a link it is this one.
    Ok(unsafe { info.__bindgen_anon_1.tcx.ifindex })
}

/// The ids of the programs at the ingress of a device, in the order in which they run (BPF_PROG_QUERY). The first 64.
pub fn tcx_programs(device: u32) -> io::Result<Vec<u32>> {
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_ifindex = device;
    attr.query.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    programs(attr).map(|(programs, _)| programs)
}

/// The ids of the programs that are attached to this cgroup itself, in the order in which they run, and the flags of
/// the hook (BPF_F_ALLOW_MULTI, or others). The first 64.
pub fn cgroup_programs(
    cgroup: BorrowedFd<'_>,
    hook: bpf_attach_type,
) -> io::Result<(Vec<u32>, u32)> {
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_fd = number(cgroup);
    attr.query.attach_type = hook as u32;
    programs(attr)
}

/// The programs at a hook, and its flags (BPF_PROG_QUERY).
fn programs(mut attr: bpf_attr) -> io::Result<(Vec<u32>, u32)> {
    let mut programs = [0_u32; 64];
    attr.query.prog_ids = programs.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.count = u32::try_from(programs.len()).unwrap_or(u32::MAX);
    match bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        // There are more than the buffer takes.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => return Err(error),
        _ => {}
    }
    // SAFETY: the kernel has written the fields of the command that was called.
    let (count, flags) = unsafe { (attr.query.__bindgen_anon_2.count, attr.query.attach_flags) };
    Ok((programs.into_iter().take(count as usize).collect(), flags))
}

/// Whether the kernel has tcx (Linux 6.6). Asks for the programs of the loopback device, whose index is always 1.
pub fn has_tcx() -> bool {
    tcx_programs(1).is_ok()
}

/// The id of a program (BPF_OBJ_GET_INFO_BY_FD).
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all bytes zero is a value of this plain C structure, and asks for nothing that needs room elsewhere.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    object_info(program, &mut info)?;
    Ok(info.id)
}

/// Pins a map or a link at an unused path (BPF_OBJ_PIN).
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = number(object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Reads elements of a hash, up to the capacity of the buffers (BPF_MAP_LOOKUP_BATCH).
///
/// `position`: 0, or the result of the previous call. Returns the number of elements and the next position; none after
/// the last element. The kernel continues at a bucket of the hash. An element that is removed meanwhile therefore does
/// not restart the iteration, as it does for an iteration by keys.
///
/// `K` and `V` must have the sizes of the map's keys and values.
pub fn read_hash<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    position: u32,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<u32>)> {
    let mut next = 0_u32;
    let mut attr = zeroed();
    if position > 0 {
        attr.batch.in_batch = (&raw const position) as u64;
    }
    attr.batch.out_batch = (&raw mut next) as u64;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.count = u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX);
    attr.batch.map_fd = number(map);
    let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
    // SAFETY: the kernel has written the field of the command that was called.
    let count = unsafe { attr.batch.count } as usize;
    match result {
        Ok(_) => Ok((count, Some(next))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((count, None)),
        Err(error) => Err(error),
    }
}

/// How often a program ran, and for how many ns in total (BPF_OBJ_GET_INFO_BY_FD).
pub fn run_stats(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    // SAFETY: all bytes zero is a value of this plain C structure, and asks for nothing that needs room elsewhere.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    object_info(program, &mut info)?;
    Ok((info.run_cnt, info.run_time_ns))
}

/// Makes an array of one 32-bit value.
pub fn create_array() -> io::Result<OwnedFd> {
    create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, None)
}

/// Makes an array with one map of the same shape as `inner`.
pub fn create_array_of_maps(inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, Some(inner))
}

/// Stores a map in the first element of an array of maps.
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
    // SAFETY: all bytes zero is a value of this union of plain C structures, and the value that the kernel requires for
    // unused ones.
    unsafe { std::mem::zeroed() }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor for this call, and no other code has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: `attr` is valid for its whole size, and its pointers stay valid until the call returns.
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
