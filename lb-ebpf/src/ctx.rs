//! The fields of a hook's context. No other file accesses them, except for the socket in `identity`.
//!
//! The verifier accepts only 32-bit accesses at constant offsets. So an IPv6 address is read and written word by word,
//! never through a reference to the array.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::programs::SockAddrContext;
use lb_common::{Address, mapped};

/// An address and port that a socket sends to or receives from.
#[derive(Clone, Copy)]
pub struct Peer {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u16,
}

impl Peer {
    /// Compares word by word: LLVM 22 cannot compile a comparison of the arrays everywhere.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        self.port == other.port && self.address == other.address
    }
}

/// The address family of a hook. All addresses are in network byte order, IPv4 mapped.
pub trait Family {
    /// The address in the context.
    fn address(ctx: &SockAddrContext) -> Address;
    /// Replaces the address in the context by another one of this family.
    fn set_address(ctx: &SockAddrContext, address: Address);
    /// The address that a `connect` hook's socket is bound to; unspecified if it is not bound.
    fn bound(ctx: &SockAddrContext) -> Address;
    /// The source address of a `sendmsg` hook's datagram: the one that the socket is bound to, or that the caller
    /// passed with IP_PKTINFO or IPV6_PKTINFO; unspecified if the kernel chooses it.
    fn source(ctx: &SockAddrContext) -> Address;
}

/// Hooks of AF_INET sockets.
pub enum V4 {}

/// Hooks of AF_INET6 sockets, which may use IPv4 in its mapped form.
pub enum V6 {}

impl Family for V4 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run.
        mapped(unsafe { (*ctx.sock_addr).user_ip4 })
    }

    #[inline(always)]
    fn set_address(ctx: &SockAddrContext, address: Address) {
        // SAFETY: the kernel's context is valid for the whole run, and these hooks may write the field.
        unsafe { (*ctx.sock_addr).user_ip4 = address[3] };
    }

    #[inline(always)]
    fn bound(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel's context is valid for the whole run, and so is its socket.
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
        // SAFETY: the kernel's context is valid for the whole run, and these hooks may write the field.
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
        // SAFETY: the kernel's context is valid for the whole run, and so is its socket.
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

/// The address and port in the context.
#[inline(always)]
pub fn peer<F: Family>(ctx: &SockAddrContext) -> Peer {
    Peer {
        address: F::address(ctx),
        port: port(ctx),
    }
}

/// Replaces the address and port in the context.
#[inline(always)]
pub fn set_peer<F: Family>(ctx: &SockAddrContext, peer: Peer) {
    F::set_address(ctx, peer.address);
    // SAFETY: the kernel's context is valid for the whole run, and these hooks may write the field.
    unsafe { (*ctx.sock_addr).user_port = u32::from(peer.port) };
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

/// The socket's protocol (IPPROTO_…). Its type is not enough: a ping socket is also a datagram socket.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel's context is valid for the whole run.
    unsafe { (*ctx.sock_addr).protocol }
}

/// Whether a datagram socket is connected, to this datagram's destination or another one.
#[inline(always)]
pub fn is_connected(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel's context is valid for the whole run, and so is its socket.
    unsafe { (*(*ctx.sock_addr).__bindgen_anon_1.sk).state == TCP_ESTABLISHED }
}

/// From include/net/tcp_states.h. Connected UDP sockets have it too.
const TCP_ESTABLISHED: u32 = 1;

/// Who asks for a backend: the key of session affinity and of Maglev.
pub trait Client {
    /// Whether a failed connect of this client is noticed, so that it can be the trial of an ejected backend.
    const IS_NOTICED: bool;

    /// See [`lb_common::affinity::AffinityKey`].
    fn id(&self) -> u64;
}

impl Client for SockAddrContext {
    const IS_NOTICED: bool = true;

    /// The cookie of the client's network namespace (SO_NETNS_COOKIE).
    #[inline(always)]
    fn id(&self) -> u64 {
        // SAFETY: the helper takes the hook's own context.
        unsafe { bpf_get_netns_cookie(self.as_ptr()) }
    }
}
