//! Which socket a hook is about: its cookie (SO_COOKIE), by which ORIGINS knows it.
//!
//! The kernel makes a socket's cookie when somebody first asks for it. A socket that has none was never remembered, so most
//! hooks only need to read the word that holds it. Three ways lead there, and the loader says which one the kernel takes
//! (`lb-agent/src/kernel/bpf/socket_fields.rs`):
//!
//! * `bpf_cast_to_kern_ctx`, a kernel function since Linux 6.2: plain loads, for every socket and hook;
//! * `bpf_skc_to_tcp_sock`, for TCP sockets in hooks whose context names a socket;
//! * `bpf_probe_read_kernel`, in the release hook, whose context is the socket. It costs 20 to 100 ns, by CPU.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock,
};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use aya_ebpf::{EbpfContext, Global};
use lb_common::kernel_function::{CAST_TO_KERNEL_CONTEXT, call};

/// A hook's context that says which socket it is about.
pub trait Socket: EbpfContext {
    /// The socket's cookie; never 0. Makes one if the socket has none.
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the hook's own context.
        unsafe { bpf_get_socket_cookie(self.as_ptr()) }
    }

    /// The cookie that the socket has, without making one: 0 if nobody has asked for it. None where that cannot be read.
    fn made_cookie(&self) -> Option<u64>;

    /// The socket's cookie, unless it has none yet: then no program of ours has remembered anything of it.
    #[inline(always)]
    fn known_cookie(&self) -> Option<u64> {
        match self.made_cookie() {
            Some(0) => None,
            Some(cookie) => Some(cookie),
            None => Some(self.cookie()),
        }
    }
}

impl Socket for SockAddrContext {
    #[inline(always)]
    fn made_cookie(&self) -> Option<u64> {
        let offset = offset(&COOKIE_OFFSET)?;
        if let Some(context) = kernel_context(self) {
            // SAFETY: the kernel's own types say that the pointer is there; the verifier checks both loads.
            return Some(unsafe {
                let socket = context.byte_add(CONTEXT_SOCKET_OFFSET.load() as usize);
                let socket = socket.cast::<*const c_void>().read_volatile();
                socket.byte_add(offset).cast::<u64>().read_volatile()
            });
        }
        // SAFETY: the kernel's context is valid for the whole run, and the helper takes any socket.
        let socket = unsafe { bpf_skc_to_tcp_sock((*self.sock_addr).__bindgen_anon_1.sk.cast()) };
        if socket.is_null() {
            return None;
        }
        // SAFETY: the kernel's own types say that the word is there.
        Some(unsafe { socket.byte_add(offset).cast::<u64>().read_volatile() })
    }
}

impl Socket for SockContext {
    /// This hook's context is the kernel's socket itself.
    #[inline(always)]
    fn made_cookie(&self) -> Option<u64> {
        let offset = offset(&COOKIE_OFFSET)?;
        if let Some(socket) = kernel_context(self) {
            // SAFETY: the kernel's own types say that the word is there.
            return Some(unsafe { socket.byte_add(offset).cast::<u64>().read_volatile() });
        }
        // SAFETY: only the address is used.
        read(unsafe { self.sock.byte_add(offset) } as u64)
    }
}

/// Protocol of an MPTCP socket (include/uapi/linux/in.h). Its subflows are TCP sockets.
const IPPROTO_MPTCP: u32 = 262;

/// The cookie under which a `getpeername` hook's socket was remembered, if it was.
///
/// The connect hook runs on the first subflow of an MPTCP socket, `getpeername` and release on the MPTCP socket itself, so
/// these look the subflow up.
#[inline(always)]
pub fn of_peer(ctx: &SockAddrContext) -> Option<u64> {
    // SAFETY: the kernel's context is valid for the whole run.
    let (protocol, socket) = unsafe {
        let context = ctx.sock_addr;
        ((*context).protocol, (*context).__bindgen_anon_1.sk)
    };
    if protocol == IPPROTO_MPTCP {
        return first_subflow(socket.cast());
    }
    ctx.known_cookie()
}

/// The cookie under which a released socket was remembered, if it was. See [`of_peer`].
#[inline(always)]
pub fn of_released(ctx: &SockContext) -> Option<u64> {
    // SAFETY: the kernel's context is valid for the whole run.
    if unsafe { (*ctx.sock).protocol } == IPPROTO_MPTCP {
        return first_subflow(ctx.sock.cast());
    }
    ctx.known_cookie()
}

/// The cookie of the first subflow of an MPTCP socket (`first` of `struct mptcp_sock`, net/mptcp/protocol.h).
#[inline(always)]
fn first_subflow(socket: *const c_void) -> Option<u64> {
    let (first, cookie) = (offset(&FIRST_SUBFLOW_OFFSET)?, offset(&COOKIE_OFFSET)?);
    // The verifier allows no arithmetic on the pointer to a socket: its value is read from where it lies on the stack.
    let address = read((&raw const socket) as u64)?;
    let subflow = read(address.wrapping_add(first as u64))?;
    if subflow == 0 {
        return None;
    }
    read(subflow.wrapping_add(cookie as u64)).filter(|&cookie| cookie != 0)
}

/// The word at an address of the kernel's memory; none where it cannot be read.
#[inline(always)]
fn read(address: u64) -> Option<u64> {
    let mut word = 0_u64;
    // SAFETY: the helper writes 8 bytes, and fails where it cannot read.
    let read =
        unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const c_void) };
    (read == 0).then_some(word)
}

/// The kernel's own structure behind a hook's context; none where the kernel has no function for that.
#[inline(always)]
fn kernel_context(ctx: &impl EbpfContext) -> Option<*const c_void> {
    if HAS_KERNEL_CONTEXT.load() == 0 {
        return None;
    }
    let context: *const c_void;
    #[cfg(target_arch = "bpf")]
    // SAFETY: the function takes the hook's context and returns a pointer that only the verifier makes something of.
    // The call is written as bytes, for the assembler has no words for it; the loader puts the function's BTF id into it.
    unsafe {
        core::arch::asm!(
            ".8byte {call}",
            call = const u64::from_le_bytes(call(CAST_TO_KERNEL_CONTEXT)),
            inlateout("r1") ctx.as_ptr() => _,
            lateout("r0") context,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = call(CAST_TO_KERNEL_CONTEXT);
        context = ctx.as_ptr().cast_const();
    }
    Some(context)
}

/// Where in a socket the kernel keeps its cookie, in bytes; 0: not known.
#[unsafe(no_mangle)]
pub static COOKIE_OFFSET: Global<u32> = Global::new(0);

/// Where in an MPTCP socket the pointer to its first subflow is, in bytes; 0: not known.
#[unsafe(no_mangle)]
pub static FIRST_SUBFLOW_OFFSET: Global<u32> = Global::new(0);

/// 1 where the kernel has `bpf_cast_to_kern_ctx`.
#[unsafe(no_mangle)]
pub static HAS_KERNEL_CONTEXT: Global<u32> = Global::new(0);

/// Where in `struct bpf_sock_addr_kern` (include/linux/filter.h) the pointer to the socket is, in bytes.
#[unsafe(no_mangle)]
pub static CONTEXT_SOCKET_OFFSET: Global<u32> = Global::new(0);

/// What one of the offsets says.
#[inline(always)]
fn offset(global: &Global<u32>) -> Option<usize> {
    let offset = global.load();
    (offset != 0).then_some(offset as usize)
}
