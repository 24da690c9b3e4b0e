//! The one place that touches a hook's context.
//!
//! The verifier wants 32-bit accesses at constant offsets, so the words of an IPv6 address are read and
//! written one by one, and never through a reference to the array.

use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock,
};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use aya_ebpf::{EbpfContext as _, Global};
use lb_common::{Address, mapped};

/// The address family of a hook.
pub trait Family {
    /// The address in the context, IPv4 mapped.
    fn address(ctx: &SockAddrContext) -> Address;
    /// Puts an address of this family into the context.
    fn set_address(ctx: &SockAddrContext, address: Address);
}

/// Hooks of AF_INET sockets.
pub enum V4 {}

/// Hooks of AF_INET6 sockets, which may speak to IPv4 in its mapped form.
pub enum V6 {}

impl Family for V4 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        mapped(unsafe { (*ctx.sock_addr).user_ip4 })
    }

    #[inline(always)]
    fn set_address(ctx: &SockAddrContext, address: Address) {
        // SAFETY: as above; the hooks that call this may write the field.
        unsafe { (*ctx.sock_addr).user_ip4 = address[3] };
    }
}

impl Family for V6 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        unsafe {
            let words = &raw const (*ctx.sock_addr).user_ip6;
            let words = words.cast::<u32>();
            [
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ]
        }
    }

    #[inline(always)]
    fn set_address(ctx: &SockAddrContext, address: Address) {
        // SAFETY: as above; the hooks that call this may write the field.
        unsafe {
            let words = &raw mut (*ctx.sock_addr).user_ip6;
            let words = words.cast::<u32>();
            words.write_volatile(address[0]);
            words.add(1).write_volatile(address[1]);
            words.add(2).write_volatile(address[2]);
            words.add(3).write_volatile(address[3]);
        }
    }
}

/// The port in the context, in network byte order.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel keeps it in the lower half of a 32-bit field"
)]
pub fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: the kernel's context is valid for the whole run.
    unsafe { (*ctx.sock_addr).user_port as u16 }
}

/// `port`: in network byte order.
#[inline(always)]
pub fn set_port(ctx: &SockAddrContext, port: u16) {
    // SAFETY: the kernel's context is valid for the whole run, and these hooks may write the field.
    unsafe { (*ctx.sock_addr).user_port = u32::from(port) };
}

/// The socket's protocol (IPPROTO_…), which says more than its type: a ping socket is a datagram socket too.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel's context is valid for the whole run.
    unsafe { (*ctx.sock_addr).protocol }
}

/// Whether a datagram socket is connected, wherever this datagram goes.
#[inline(always)]
pub fn is_connected(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel's context is valid for the whole run, and so is the socket that it names.
    unsafe { (*(*ctx.sock_addr).__bindgen_anon_1.sk).state == TCP_ESTABLISHED }
}

/// include/net/tcp_states.h; of connected UDP sockets too.
const TCP_ESTABLISHED: u32 = 1;

/// The cookie of the client's network namespace (SO_NETNS_COOKIE).
#[inline(always)]
pub fn network_namespace(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the hook's own context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// A hook's context from which the socket can be told.
pub trait Socket {
    /// The socket's cookie (SO_COOKIE); never 0.
    fn cookie(&self) -> u64;

    /// The cookie as the kernel has it, without making one: 0 for a socket whose cookie nobody has asked for. None where
    /// that cannot be told.
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
    fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the hook's own context.
        unsafe { bpf_get_socket_cookie(self.as_ptr()) }
    }

    /// Of TCP sockets: there is no helper that gives way into any other.
    #[inline(always)]
    fn made_cookie(&self) -> Option<u64> {
        let offset = cookie_offset()?;
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
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the hook's own context.
        unsafe { bpf_get_socket_cookie(self.as_ptr()) }
    }

    /// This hook's context is the kernel's socket itself.
    #[inline(always)]
    fn made_cookie(&self) -> Option<u64> {
        let offset = cookie_offset()?;
        let mut cookie = 0_u64;
        // SAFETY: the helper writes as many bytes as it is told, and fails where it cannot read.
        let read = unsafe {
            let place = self.sock.byte_add(offset);
            bpf_probe_read_kernel((&raw mut cookie).cast(), 8, place.cast())
        };
        (read == 0).then_some(cookie)
    }
}

/// Where in a socket the kernel keeps its cookie, in bytes; 0: not known.
#[unsafe(no_mangle)]
pub static COOKIE_OFFSET: Global<u32> = Global::new(0);

#[inline(always)]
fn cookie_offset() -> Option<usize> {
    let offset = COOKIE_OFFSET.load();
    (offset != 0).then_some(offset as usize)
}
