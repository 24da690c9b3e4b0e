//! Destinations and sources that are valid only on one host or one link: loopback, link-local and unspecified
//! addresses.

use aya_ebpf::programs::SockAddrContext;
use lb_common::{Address, FrontendKey, is_mapped, mapped};

use crate::ctx::{self, Family};

const LOOPBACK: Address = mapped(u32::from_be_bytes([127, 0, 0, 1]).to_be());
const LOOPBACK_IPV6: Address = [0, 0, 0, 1_u32.to_be()];

/// The destination of a call.
pub struct Destination {
    /// As the caller passed it, except that an unspecified address is resolved. The caller sees this as its peer.
    pub requested: FrontendKey,
    /// The key to look up in FRONTENDS.
    pub lookup: FrontendKey,
    /// Whether the two differ.
    pub is_alias: bool,
}

impl Destination {
    /// The destination in a hook's context.
    ///
    /// A NodePort has one loopback frontend for each family, so `127.0.0.0/8` is looked up as `127.0.0.1`: kube-proxy's
    /// iptables mode serves NodePorts on all local addresses (`--dst-type LOCAL`). For an unspecified destination see
    /// [`resolve`].
    ///
    /// `own`: gives the address that the socket is bound to, or that the datagram is sent from.
    #[inline(always)]
    pub fn new<F: Family>(
        ctx: &SockAddrContext,
        protocol: u8,
        own: impl FnOnce(&SockAddrContext) -> Address,
    ) -> Self {
        let (mut address, port) = (F::address(ctx), ctx::port(ctx));
        if is_unspecified(address) {
            address = resolve(address, own(ctx));
        }
        let requested = FrontendKey::new(address, port, protocol);
        if !is_ipv4_loopback(address) {
            return Self {
                requested,
                lookup: requested,
                is_alias: false,
            };
        }
        Self {
            requested,
            lookup: FrontendKey::new(LOOPBACK, port, protocol),
            is_alias: address[3] != LOOPBACK[3],
        }
    }
}

/// The destination that the kernel uses instead of an unspecified one: for IPv4 the socket's own address, or 127.0.0.1
/// if it has none (`ip_route_output_key_hash_rcu`); for IPv6 ::1, or 127.0.0.1 if the socket is bound to a mapped
/// address (`tcp_v6_connect`, `__ip6_datagram_connect`, `udpv6_sendmsg`).
#[inline(always)]
fn resolve(address: Address, own: Address) -> Address {
    if is_mapped(address) {
        return if is_mapped(own) && own[3] != 0 {
            own
        } else {
            LOOPBACK
        };
    }
    if is_mapped(own) {
        LOOPBACK
    } else {
        LOOPBACK_IPV6
    }
}

/// Whether packets with this source cannot reach a backend: it is a loopback address (RFC 1122, 3.2.1.3; RFC 4291,
/// 2.5.3) or a link-local address, which routers must not forward (RFC 3927, 2.7; RFC 4291, 2.5.6). No backend has such
/// an address (`policy/address.rs` in lb-agent).
#[inline(always)]
pub fn is_confined(source: Address) -> bool {
    if is_mapped(source) {
        return is_ipv4_loopback(source) || has_prefix(source[3], 0xffff_0000, 0xa9fe_0000);
    }
    let [first, second, third, last] = source;
    let is_loopback = first | second | third == 0 && last == LOOPBACK_IPV6[3];
    is_loopback || has_prefix(first, 0xffc0_0000, 0xfe80_0000)
}

#[inline(always)]
fn is_ipv4_loopback(address: Address) -> bool {
    is_mapped(address) && has_prefix(address[3], 0xff00_0000, 0x7f00_0000)
}

/// `0.0.0.0` in its mapped form, or `::`.
#[inline(always)]
fn is_unspecified(address: Address) -> bool {
    address[3] == 0 && (is_mapped(address) || address[0] | address[1] | address[2] == 0)
}

/// `word`: in network byte order. `mask`, `prefix`: in the CPU's byte order.
#[inline(always)]
const fn has_prefix(word: u32, mask: u32, prefix: u32) -> bool {
    word & mask.to_be() == prefix.to_be()
}
