//! The headers of a packet at a device's ingress, from the network header on. The link header, if the device has one, and the
//! outer VLAN tag are already behind the kernel (`__netif_receive_skb_core`).

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_hdr_start_off::BPF_HDR_START_NET;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes_relative;
use aya_ebpf::programs::TcContext;
use lb_common::{Address, FrontendKey, TCP, UDP, mapped};

/// ETH_P_IP, in network byte order.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
/// ETH_P_IPV6, in network byte order.
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Length of an IPv6 header in bytes.
const IPV6_LENGTH: u32 = 40;
/// Number of extension headers that are skipped before the transport header. RFC 8200 knows six kinds, each at most once
/// but for the destination options.
const MOST_EXTENSIONS: usize = 7;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Length of an IPv4 header without options in bytes.
const IPV4_LENGTH: u32 = 20;

/// A kind of device, by what is before the network header.
pub trait Link {
    /// Words of the packet, in network byte order. None if it is shorter.
    ///
    /// `OFFSET`: in bytes from the network header on.
    fn load<const OFFSET: u32, const WORDS: usize>(ctx: &TcContext) -> Option<[u32; WORDS]>;
}

/// Devices with an Ethernet header, which is always 14 bytes long: the kernel has removed the VLAN tag.
pub enum Ethernet {}

/// All other devices: with or without a link header.
pub enum AnyLink {}

impl Link for Ethernet {
    /// Reads the packet directly, which takes a few ns; a call of the helper takes about 30.
    #[inline(always)]
    fn load<const OFFSET: u32, const WORDS: usize>(ctx: &TcContext) -> Option<[u32; WORDS]> {
        const ETHERNET: usize = 14;
        let start = ctx.data() + ETHERNET + OFFSET as usize;
        if start + 4 * WORDS > ctx.data_end() {
            // These bytes may be in another part of the packet.
            return load(ctx, OFFSET);
        }
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the packet has these bytes.
            *word = unsafe { word_at(start + 4 * index) };
        }
        Some(words)
    }
}

impl Link for AnyLink {
    #[inline(always)]
    fn load<const OFFSET: u32, const WORDS: usize>(ctx: &TcContext) -> Option<[u32; WORDS]> {
        load(ctx, OFFSET)
    }
}

/// The addresses and ports of a packet that may start a connection or a flow.
pub struct Header {
    pub source: Address,
    /// Where the packet goes, as a key of FRONTENDS.
    pub destination: FrontendKey,
}

/// The transport header's place.
struct Transport {
    /// IPPROTO_….
    protocol: u8,
    /// In bytes from the network header on.
    offset: u32,
}

impl Header {
    /// None unless the packet is a TCP SYN without ACK, or a UDP datagram or its first fragment. Whether a datagram's flow is
    /// new, conntrack knows.
    #[inline(always)]
    pub fn of_new_flow<L: Link>(ctx: &TcContext) -> Option<Self> {
        // SAFETY: the kernel's context is valid for the whole run.
        match unsafe { (*ctx.skb.skb).protocol } {
            IPV4 => Self::of_ipv4::<L>(ctx),
            IPV6 => Self::of_ipv6::<L>(ctx),
            _ => None,
        }
    }

    #[inline(always)]
    fn of_ipv4<L: Link>(ctx: &TcContext) -> Option<Self> {
        let [first, fragment, protocol, source, destination] = L::load::<0, 5>(ctx)?;
        let length = u32::from(first.to_ne_bytes()[0] & 0xf) * 4;
        let [_, _, high, low] = fragment.to_ne_bytes();
        if u16::from_be_bytes([high, low]) & 0x1fff != 0 {
            return None;
        }
        let transport = Transport {
            protocol: protocol.to_ne_bytes()[1],
            offset: length,
        };
        Self::new::<L>(ctx, &transport, mapped(source), mapped(destination))
    }

    #[inline(always)]
    fn of_ipv6<L: Link>(ctx: &TcContext) -> Option<Self> {
        let [_, next, words @ ..] = L::load::<0, 10>(ctx)?;
        let [a, b, c, d, e, f, g, h] = words;
        let transport = skip_extensions(ctx, next.to_ne_bytes()[2])?;
        Self::new::<L>(ctx, &transport, [a, b, c, d], [e, f, g, h])
    }

    #[inline(always)]
    fn new<L: Link>(
        ctx: &TcContext,
        transport: &Transport,
        source: Address,
        destination: Address,
    ) -> Option<Self> {
        let ports = match transport.protocol {
            TCP => {
                let [ports, _, _, flags] = load_behind::<L, 4>(ctx, transport.offset)?;
                if flags.to_ne_bytes()[1] & (SYN | ACK) != SYN {
                    return None;
                }
                ports
            }
            UDP => {
                let [ports] = load_behind::<L, 1>(ctx, transport.offset)?;
                ports
            }
            _ => return None,
        };
        let [_, _, first, second] = ports.to_ne_bytes();
        let port = u16::from_ne_bytes([first, second]);
        Some(Self {
            source,
            destination: FrontendKey::new(destination, port, transport.protocol),
        })
    }
}

/// The transport header behind the extension headers; none if there are too many, and for a fragment that is not the first.
///
/// `next`: the next header of the IPv6 header.
#[inline(always)]
fn skip_extensions(ctx: &TcContext, next: u8) -> Option<Transport> {
    let mut transport = Transport {
        protocol: next,
        offset: IPV6_LENGTH,
    };
    for _ in 0..MOST_EXTENSIONS {
        let [first] = match transport.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT => {
                load::<1>(ctx, transport.offset)?
            }
            _ => return Some(transport),
        };
        let [next, length, high, low] = first.to_ne_bytes();
        let length = match transport.protocol {
            FRAGMENT => {
                if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
                    return None;
                }
                8
            }
            AUTHENTICATION => (u32::from(length) + 2) * 4,
            _ => (u32::from(length) + 1) * 8,
        };
        transport = Transport {
            protocol: next,
            offset: transport.offset + length,
        };
    }
    None
}

/// Words of the transport header.
///
/// `offset`: in bytes from the network header on.
#[inline(always)]
fn load_behind<L: Link, const WORDS: usize>(ctx: &TcContext, offset: u32) -> Option<[u32; WORDS]> {
    match offset {
        IPV4_LENGTH => L::load::<IPV4_LENGTH, WORDS>(ctx),
        IPV6_LENGTH => L::load::<IPV6_LENGTH, WORDS>(ctx),
        _ => load(ctx, offset),
    }
}

/// Four bytes of the packet, with one instruction. The compiler would read them one by one, since they are not aligned.
///
/// # Safety
/// The packet has these bytes.
#[inline(always)]
unsafe fn word_at(address: usize) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let word: u64;
        // SAFETY: the caller's.
        unsafe {
            core::arch::asm!("{0} = *(u32 *)({1} + 0)", out(reg) word, in(reg) address);
        }
        word as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe {
        (address as *const u32).read_unaligned()
    }
}

/// Words of the packet, in network byte order. None if it is shorter.
///
/// `offset`: in bytes from the network header on.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most ten words")]
fn load<const WORDS: usize>(ctx: &TcContext, offset: u32) -> Option<[u32; WORDS]> {
    let mut words = [0; WORDS];
    // SAFETY: the helper writes that many bytes, and fails if the packet has fewer.
    let loaded = unsafe {
        bpf_skb_load_bytes_relative(
            ctx.skb.skb.cast::<c_void>(),
            offset,
            words.as_mut_ptr().cast(),
            4 * WORDS as u32,
            BPF_HDR_START_NET,
        )
    };
    (loaded == 0).then_some(words)
}

/// The packet's priority (`skb->priority`).
#[inline(always)]
pub fn priority(ctx: &TcContext) -> u32 {
    // SAFETY: the kernel's context is valid for the whole run.
    unsafe { (*ctx.skb.skb).priority }
}

#[inline(always)]
pub fn set_priority(ctx: &TcContext, priority: u32) {
    // SAFETY: the kernel's context is valid for the whole run, and programs at tc may write the field.
    unsafe { (*ctx.skb.skb).priority = priority };
}
