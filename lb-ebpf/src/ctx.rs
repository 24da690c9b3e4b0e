//! The one place that touches a hook's context.
//!
//! The verifier wants 32-bit accesses at constant offsets, so the words of an IPv6 address are read and
//! written one by one, and never through a reference to the array.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::programs::SockAddrContext;
use lb_common::{Address, mapped};

/// The address family of a hook.
pub trait Family {
    /// The address in the context, IPv4 mapped.
    fn address(ctx: &SockAddrContext) -> Address;
    /// Puts an address of this family into the context.
    fn set_address(ctx: &SockAddrContext, address: Address);
    /// The address that a `connect` hook's socket is bound to, IPv4 mapped; unspecified if it is bound to none.
    fn bound(ctx: &SockAddrContext) -> Address;
    /// The source address of a `sendmsg` hook's datagram, IPv4 mapped: the one that the socket is bound to, or that the
    /// caller gave with IP_PKTINFO or IPV6_PKTINFO; unspecified if the kernel is to choose.
    fn source(ctx: &SockAddrContext) -> Address;
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

    #[inline(always)]
    fn bound(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run, and so is the socket that it names.
        mapped(unsafe { (*(*ctx.sock_addr).__bindgen_anon_1.sk).src_ip4 })
    }

    #[inline(always)]
    fn source(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        mapped(unsafe { (*ctx.sock_addr).msg_src_ip4 })
    }
}

impl Family for V6 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        unsafe { words((&raw const (*ctx.sock_addr).user_ip6).cast()) }
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

    #[inline(always)]
    fn bound(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run, and so is the socket that it names.
        unsafe {
            let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
            words((&raw const (*socket).src_ip6).cast())
        }
    }

    #[inline(always)]
    fn source(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        unsafe { words((&raw const (*ctx.sock_addr).msg_src_ip6).cast()) }
    }
}

/// The words of an IPv6 address in the context, one by one.
///
/// # Safety
/// `first` points to the first of the four words.
#[inline(always)]
unsafe fn words(first: *const u32) -> Address {
    // SAFETY: the caller's.
    unsafe {
        [
            first.read_volatile(),
            first.add(1).read_volatile(),
            first.add(2).read_volatile(),
            first.add(3).read_volatile(),
        ]
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
