//! The cookie (SO_COOKIE) of the socket that a hook runs for: the socket's key in ORIGINS.
//!
//! The kernel generates a socket's cookie at the first request for it. A socket without a cookie has no entry, so most
//! hooks only read the word in the socket that contains it. There are three ways to read it. The loader tells the
//! programs which of them this kernel has (`socket_fields.rs` in lb-agent):
//!
//! * `bpf_cast_to_kern_ctx`, a kernel function since Linux 6.2: plain loads, for all sockets and hooks;
//! * `bpf_skc_to_tcp_sock`, for TCP sockets in hooks whose context contains a pointer to the socket;
//! * `bpf_probe_read_kernel`, in the release hook, whose context is the socket. It costs 20 to 100 ns, depending on the
//!   CPU.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock,
};
use aya_ebpf::programs::{SockAddrContext, SockContext, SockOpsContext};
use aya_ebpf::{EbpfContext, Global};
use lb_common::kernel_function::{CAST_TO_KERNEL_CONTEXT, call};

/// The context of a hook that runs for a socket.
pub trait Socket: EbpfContext {
    /// The socket's cookie; never 0. Generates one if the socket has none.
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the hook's own context.
        unsafe { bpf_get_socket_cookie(self.as_ptr()) }
    }

    /// Reads the socket's cookie without generating one; 0 if it has none. None if this kernel has no way to read it.
    fn read_cookie(&self) -> Option<u64>;

    /// The socket's cookie; none if it has none, and thus no entry.
    #[inline(always)]
    fn existing_cookie(&self) -> Option<u64> {
        match self.read_cookie() {
            Some(0) => None,
            Some(cookie) => Some(cookie),
            None => Some(self.cookie()),
        }
    }
}

impl Socket for SockAddrContext {
    #[inline(always)]
    fn read_cookie(&self) -> Option<u64> {
        let offset = offset(&COOKIE_OFFSET)?;
        if let Some(context) = kernel_context(self) {
            // SAFETY: the offsets are from the kernel's own types, and the verifier checks both loads.
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
        // SAFETY: the offset is from the kernel's own types, and the verifier checks the load.
        Some(unsafe { socket.byte_add(offset).cast::<u64>().read_volatile() })
    }
}

impl Socket for SockContext {
    /// This hook's context is the kernel's socket itself.
    #[inline(always)]
    fn read_cookie(&self) -> Option<u64> {
        let offset = offset(&COOKIE_OFFSET)?;
        if let Some(socket) = kernel_context(self) {
            // SAFETY: the offset is from the kernel's own types, and the verifier checks the load.
            return Some(unsafe { socket.byte_add(offset).cast::<u64>().read_volatile() });
        }
        // SAFETY: only the address is used.
        read(unsafe { self.sock.byte_add(offset) } as u64)
    }
}

impl Socket for SockOpsContext {
    #[inline(always)]
    fn read_cookie(&self) -> Option<u64> {
        let offset = offset(&COOKIE_OFFSET)?;
        // SAFETY: the kernel's context is valid for the whole run.
        let socket = unsafe { (*self.ops).__bindgen_anon_2.sk };
        if socket.is_null() {
            return None;
        }
        // SAFETY: the helper takes any socket.
        let socket = unsafe { bpf_skc_to_tcp_sock(socket.cast()) };
        if socket.is_null() {
            return None;
        }
        // SAFETY: the offset is from the kernel's own types, and the verifier checks the load.
        Some(unsafe { socket.byte_add(offset).cast::<u64>().read_volatile() })
    }
}

/// Protocol of an MPTCP socket (include/uapi/linux/in.h). Its subflows are TCP sockets.
const IPPROTO_MPTCP: u32 = 262;

/// The cookie by which a `getpeername` hook's socket may have an entry.
///
/// For an MPTCP socket the connect hook runs on the first subflow, but `getpeername` and release hooks on the MPTCP
/// socket itself. So these read the subflow's cookie.
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
    ctx.existing_cookie()
}

/// The cookie by which a released socket may have an entry. See [`of_peer`].
#[inline(always)]
pub fn of_released(ctx: &SockContext) -> Option<u64> {
    // SAFETY: the kernel's context is valid for the whole run.
    if unsafe { (*ctx.sock).protocol } == IPPROTO_MPTCP {
        return first_subflow(ctx.sock.cast());
    }
    ctx.existing_cookie()
}

/// The cookie of the first subflow of an MPTCP socket (`first` of `struct mptcp_sock`, net/mptcp/protocol.h).
#[inline(always)]
fn first_subflow(socket: *const c_void) -> Option<u64> {
    let (first, cookie) = (offset(&FIRST_SUBFLOW_OFFSET)?, offset(&COOKIE_OFFSET)?);
    // The verifier allows no arithmetic on a pointer to a socket. So its value is read from the stack.
    let address = read((&raw const socket) as u64)?;
    let subflow = read(address.wrapping_add(first as u64))?;
    if subflow == 0 {
        return None;
    }
    read(subflow.wrapping_add(cookie as u64)).filter(|&cookie| cookie != 0)
}

/// The word at this offset in the kernel's structure of a released socket; none if this kernel has no way to read it.
///
/// `offset`: in bytes; 0 if unknown.
#[inline(always)]
pub fn socket_word(ctx: &SockContext, offset: u32) -> Option<u64> {
    if offset == 0 {
        return None;
    }
    // This hook's context is the kernel's socket itself. Only the address is used.
    let socket = kernel_context(ctx).unwrap_or_else(|| ctx.sock.cast());
    read(socket.wrapping_byte_add(offset as usize) as u64)
}

/// The word at an address of the kernel's memory; none if it cannot be read.
#[inline(always)]
pub fn read(address: u64) -> Option<u64> {
    let mut word = 0_u64;
    // SAFETY: the helper writes 8 bytes, and fails if it cannot read them.
    let read =
        unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const c_void) };
    (read == 0).then_some(word)
}

/// The kernel's own structure behind a hook's context; none if this kernel has no function that returns it.
#[inline(always)]
fn kernel_context(ctx: &impl EbpfContext) -> Option<*const c_void> {
    if HAS_KERNEL_CONTEXT.load() == 0 {
        return None;
    }
    let context: *const c_void;
    #[cfg(target_arch = "bpf")]
    // SAFETY: the function takes the hook's context, and the verifier knows the type of the pointer that it returns.
    // The call is written as bytes, since the assembler has no syntax for it. The loader inserts the function's BTF id.
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

/// Offset of the cookie in a socket, in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static COOKIE_OFFSET: Global<u32> = Global::new(0);

/// Offset of the pointer to the first subflow in an MPTCP socket, in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static FIRST_SUBFLOW_OFFSET: Global<u32> = Global::new(0);

/// 1 if the kernel has `bpf_cast_to_kern_ctx`, else 0.
#[unsafe(no_mangle)]
pub static HAS_KERNEL_CONTEXT: Global<u32> = Global::new(0);

/// Offset of the pointer to the socket in `struct bpf_sock_addr_kern` (include/linux/filter.h), in bytes.
#[unsafe(no_mangle)]
pub static CONTEXT_SOCKET_OFFSET: Global<u32> = Global::new(0);

/// One of the offsets; none if it is unknown.
#[inline(always)]
fn offset(global: &Global<u32>) -> Option<usize> {
    let offset = global.load();
    (offset != 0).then_some(offset as usize)
}
