//! Another program on the connect hook, attached the old way (BPF_PROG_ATTACH) as systemd does, or by a link.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

/// The effect of the program on every connect.
#[derive(Debug)]
pub enum Verdict {
    Refuse,
    GoTo(SocketAddr),
}

/// An attached program.
#[derive(Debug)]
pub struct Foreign {
    program: OwnedFd,
    cgroup: File,
}

/// linux/bpf.h: BPF_F_ALLOW_MULTI.
const ALLOW_MULTI: u32 = 2;

/// Offsets in `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

/// Attaches a program to connect4, after the existing ones.
pub fn attach(cgroup: &Path, verdict: &Verdict) -> Result<Foreign> {
    attach_with(cgroup, verdict, ALLOW_MULTI)
}

/// Like [`attach`], but exclusively: no other program can be attached to this cgroup.
pub fn attach_exclusively(cgroup: &Path, verdict: &Verdict) -> Result<Foreign> {
    attach_with(cgroup, verdict, 0)
}

fn attach_with(cgroup: &Path, verdict: &Verdict, flags: u32) -> Result<Foreign> {
    let foreign = open(cgroup, verdict)?;
    foreign.call(bpf_cmd::BPF_PROG_ATTACH, flags)?;
    Ok(foreign)
}

/// Like [`attach`], by a link, which is detached on drop.
pub fn link(cgroup: &Path, verdict: &Verdict) -> Result<OwnedFd> {
    let foreign = open(cgroup, verdict)?;
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(foreign.program.as_raw_fd())?;
    attr.link_create.__bindgen_anon_2.target_fd = number(foreign.cgroup.as_raw_fd())?;
    attr.link_create.attach_type = bpf_attach_type::BPF_CGROUP_INET4_CONNECT as u32;
    owned(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?)
}

/// Detaches the program of a pinned link (BPF_LINK_DETACH).
pub fn detach_pinned(pin: &Path) -> Result<()> {
    let link = object_at(pin)?;
    let mut attr = zeroed();
    attr.link_detach.link_fd = number(link.as_raw_fd())?;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr)?;
    Ok(())
}

/// Replaces the program of a pinned link (BPF_LINK_UPDATE).
pub fn take_over(pin: &Path, verdict: &Verdict) -> Result<()> {
    let link = object_at(pin)?;
    let program = load(&instructions(verdict)?)?;
    let mut attr = zeroed();
    attr.link_update.link_fd = number(link.as_raw_fd())?;
    attr.link_update.__bindgen_anon_1.new_prog_fd = number(program.as_raw_fd())?;
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr)?;
    Ok(())
}

fn object_at(pin: &Path) -> Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    owned(bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?)
}

fn open(cgroup: &Path, verdict: &Verdict) -> Result<Foreign> {
    Ok(Foreign {
        program: load(&instructions(verdict)?).context("the foreign program is not loaded")?,
        cgroup: File::open(cgroup)?,
    })
}

impl Foreign {
    pub fn detach(self) -> Result<()> {
        self.call(bpf_cmd::BPF_PROG_DETACH, 0)
    }

    fn call(&self, command: bpf_cmd, flags: u32) -> Result<()> {
        let mut attr = zeroed();
        // SAFETY: the fields for attaching and detaching.
        let fields = unsafe { &mut attr.__bindgen_anon_5 };
        fields.__bindgen_anon_1.target_fd = number(self.cgroup.as_raw_fd())?;
        fields.attach_bpf_fd = number(self.program.as_raw_fd())?;
        fields.attach_type = bpf_attach_type::BPF_CGROUP_INET4_CONNECT as u32;
        fields.attach_flags = flags;
        bpf(command, &mut attr)?;
        Ok(())
    }
}

fn instructions(verdict: &Verdict) -> Result<Vec<u64>> {
    const EXIT: u64 = 0x95;
    let set = |register: u64, value: u32| 0xb7 | register << 8 | u64::from(value) << 32;
    // A word from r2 to the context in r1.
    let store = |offset: i16| 0x63 | 1 << 8 | 2 << 12 | u64::from(offset.cast_unsigned()) << 16;
    Ok(match verdict {
        Verdict::Refuse => vec![set(0, 0), EXIT],
        Verdict::GoTo(SocketAddr::V4(to)) => vec![
            set(2, u32::from_ne_bytes(to.ip().octets())),
            store(USER_IP4),
            set(2, u32::from(to.port().to_be())),
            store(USER_PORT),
            set(0, 1),
            EXIT,
        ],
        Verdict::GoTo(SocketAddr::V6(_)) => bail!("only IPv4"),
    })
}

fn load(instructions: &[u64]) -> Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the fields for loading.
    let fields = unsafe { &mut attr.__bindgen_anon_3 };
    fields.prog_type = bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR as u32;
    fields.expected_attach_type = bpf_attach_type::BPF_CGROUP_INET4_CONNECT as u32;
    fields.insn_cnt = u32::try_from(instructions.len())?;
    fields.insns = instructions.as_ptr() as u64;
    fields.license = c"GPL".as_ptr() as u64;
    owned(bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?)
}

pub fn owned(fd: i64) -> Result<OwnedFd> {
    // SAFETY: a new file descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}

pub fn zeroed() -> bpf_attr {
    // SAFETY: all bytes zero is a valid value of this plain C union.
    unsafe { std::mem::zeroed() }
}

pub fn number(fd: RawFd) -> Result<u32> {
    Ok(u32::try_from(fd)?)
}

pub fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attributes are complete, and everything that they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<bpf_attr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
