//! socklb's kernel programs: one for each hook, which calls the module that does the work.
//!
//! Built for the host, this is a stub, so that `cargo build --workspace` and editors work on the whole tree.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod affinity;
mod atomic;
mod backend;
mod client;
mod config;
mod connect;
mod ctx;
mod event;
mod failure;
mod flow;
mod frontend;
mod guard;
mod header;
mod identity;
mod maps;
mod origin;
mod outcome;
mod outlier;
mod packet;
mod pick;
mod release;
mod reply;
mod scope;
mod send;
mod service;
mod syn_timeout;
mod verdict;

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, classifier, raw_tracepoint, sock_ops};
use aya_ebpf::programs::{
    RawTracePointContext, SockAddrContext, SockContext, SockOpsContext, TcContext,
};

use crate::ctx::{V4, V6};
use crate::header::{AnyLink, Ethernet};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::connect::<V4>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::connect::<V6>(&ctx)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    send::sendmsg::<V4>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    send::sendmsg::<V6>(&ctx)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    reply::recvmsg::<V4>(&ctx)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    reply::recvmsg::<V6>(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    reply::getpeername::<V4>(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    reply::getpeername::<V6>(&ctx)
}

#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    release::release(&ctx)
}

/// For outlier detection.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    failure::notice(&ctx);
    0
}

/// The same.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    failure::notice(&ctx);
    0
}

/// For `--syn-timeout`.
#[sock_ops]
pub fn syn_timeout(ctx: SockOpsContext) -> u32 {
    syn_timeout::answer(&ctx)
}

/// For devices with an Ethernet header.
#[classifier]
pub fn packet(ctx: TcContext) -> i32 {
    packet::packet::<Ethernet>(&ctx)
}

/// For all other devices.
#[classifier]
pub fn packet_l3(ctx: TcContext) -> i32 {
    packet::packet::<AnyLink>(&ctx)
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
    eprintln!("these programs run in the kernel: build them with `cargo xtask build`");
    std::process::ExitCode::FAILURE
}
