//! The programs that `cargo xtask bench` compares socklb with: the classic design of a socket load balancer, written as
//! well as its tables allow, and empty programs, which cost only what measuring costs.
//!
//! The classic design: one hash table contains the Services and their slots, a second one the backends, and an LRU hash
//! stores what each socket asked for. It balances IPv4 at random, without affinity or other algorithms.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod tables;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_ANY, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::{HashMap, LruHashMap};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_get_socket_cookie};
use aya_ebpf::macros::{btf_map, cgroup_sock, cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, SockContext, TcContext};
use bytemuck::{Pod, Zeroable};
use lb_common::{TCP, UDP};

use crate::tables::{BackendValue, ServiceKey, ServiceValue};

#[btf_map]
static SERVICES: HashMap<ServiceKey, ServiceValue, 1024> = HashMap::new();

#[btf_map]
static BACKENDS: HashMap<u32, BackendValue, 1024> = HashMap::new();

#[btf_map]
static ORIGINS: LruHashMap<OriginKey, OriginValue, 65536> = LruHashMap::new();

/// Key of ORIGINS: a socket and the backend that it talks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
struct OriginKey {
    cookie: u64,
    /// In network byte order.
    address: u32,
    /// In network byte order, in the lower half.
    port: u32,
}

/// Value of ORIGINS: what the socket asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct OriginValue {
    /// In network byte order.
    address: u32,
    /// In network byte order, in the lower half.
    port: u32,
}

const GO_ON: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn classic_connect(ctx: SockAddrContext) -> i32 {
    // SAFETY: the helper takes nothing.
    if let Some((service, backend)) = choose(&ctx, || unsafe { bpf_get_prandom_u32() }) {
        remember(&ctx, &service, &backend);
        go_to(&ctx, &backend);
    }
    GO_ON
}

/// The socket's cookie picks the slot, so all datagrams of a socket go to one backend while the number of slots stays.
#[cgroup_sock_addr(sendmsg4)]
#[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
pub fn classic_sendmsg(ctx: SockAddrContext) -> i32 {
    if let Some((service, backend)) = choose(&ctx, || cookie(&ctx) as u32) {
        if ORIGINS.get_ptr(origin_key(&ctx, &backend)).is_none() {
            remember(&ctx, &service, &backend);
        }
        go_to(&ctx, &backend);
    }
    GO_ON
}

#[cgroup_sock_addr(recvmsg4)]
pub fn classic_recvmsg(ctx: SockAddrContext) -> i32 {
    turn_back(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn classic_getpeer(ctx: SockAddrContext) -> i32 {
    turn_back(&ctx)
}

#[cgroup_sock(sock_release)]
pub fn classic_release(ctx: SockContext) -> i32 {
    // SAFETY: the kernel's context is valid for the whole run.
    let (address, port) = unsafe { ((*ctx.sock).dst_ip4, (*ctx.sock).dst_port) };
    let key = OriginKey {
        // SAFETY: the helper takes the hook's own context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.as_ptr()) },
        address,
        port: u32::from(port),
    };
    // Most sockets have no element: nothing to do about the error.
    let _ = ORIGINS.remove(key);
    GO_ON
}

#[cgroup_sock_addr(connect4)]
pub fn empty_connect(_: SockAddrContext) -> i32 {
    GO_ON
}

#[cgroup_sock_addr(sendmsg4)]
pub fn empty_sendmsg(_: SockAddrContext) -> i32 {
    GO_ON
}

#[cgroup_sock_addr(recvmsg4)]
pub fn empty_recvmsg(_: SockAddrContext) -> i32 {
    GO_ON
}

#[cgroup_sock_addr(getpeername4)]
pub fn empty_getpeer(_: SockAddrContext) -> i32 {
    GO_ON
}

#[cgroup_sock(sock_release)]
pub fn empty_release(_: SockContext) -> i32 {
    GO_ON
}

#[classifier]
pub fn empty_packet(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The Service that is asked for, and one of its backends.
///
/// `number`: gives a uniformly distributed number that picks the slot.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a port, a protocol and a slot are smaller than the fields that hold them"
)]
fn choose(
    ctx: &SockAddrContext,
    number: impl FnOnce() -> u32,
) -> Option<(ServiceKey, BackendValue)> {
    // SAFETY: the kernel's context is valid for the whole run.
    let (address, port, protocol) = unsafe {
        let asked = ctx.sock_addr;
        ((*asked).user_ip4, (*asked).user_port, (*asked).protocol)
    };
    if protocol != u32::from(TCP) && protocol != u32::from(UDP) {
        return None;
    }
    let service = ServiceKey {
        address,
        port: port as u16,
        slot: 0,
        protocol: protocol as u8,
        zero: [0; 3],
    };
    // SAFETY: the tables do not change while the bench runs.
    let slots = unsafe { SERVICES.get(service) }?.slots;
    let slot = ServiceKey {
        slot: 1 + number().checked_rem(slots)? as u16,
        ..service
    };
    // SAFETY: as above.
    let id = unsafe { SERVICES.get(slot) }?.backend;
    // SAFETY: as above.
    let backend = unsafe { BACKENDS.get(id) }?;
    Some((service, *backend))
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, service: &ServiceKey, backend: &BackendValue) {
    let asked = OriginValue {
        address: service.address,
        port: u32::from(service.port),
    };
    // A full LRU map evicts another element.
    let _ = ORIGINS.insert(origin_key(ctx, backend), asked, u64::from(BPF_ANY));
}

#[inline(always)]
fn origin_key(ctx: &SockAddrContext, backend: &BackendValue) -> OriginKey {
    OriginKey {
        cookie: cookie(ctx),
        address: backend.address,
        port: backend.port,
    }
}

/// Replaces the backend's address with the one that the socket asked for.
#[inline(always)]
fn turn_back(ctx: &SockAddrContext) -> i32 {
    // SAFETY: the kernel's context is valid for the whole run.
    let peer = unsafe {
        BackendValue {
            address: (*ctx.sock_addr).user_ip4,
            port: (*ctx.sock_addr).user_port,
        }
    };
    // SAFETY: the kernel may give the element to another socket meanwhile: that is one wrong answer.
    if let Some(asked) = unsafe { ORIGINS.get(origin_key(ctx, &peer)) } {
        go_to(
            ctx,
            &BackendValue {
                address: asked.address,
                port: asked.port,
            },
        );
    }
    GO_ON
}

#[inline(always)]
fn go_to(ctx: &SockAddrContext, backend: &BackendValue) {
    // SAFETY: the kernel's context is valid for the whole run, and these hooks may write the fields.
    unsafe {
        (*ctx.sock_addr).user_ip4 = backend.address;
        (*ctx.sock_addr).user_port = backend.port;
    }
}

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the hook's own context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The verifier rejects a program that can reach this. The build checks for it too.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() -> std::process::ExitCode {
    eprintln!("these programs run in the kernel: `cargo xtask bench` builds and loads them");
    std::process::ExitCode::FAILURE
}
