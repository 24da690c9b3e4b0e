//! Tries what the packet path needs, in a network namespace of its own, which ends with the trial.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::kernel::bpf::loader::PacketPrograms;
use crate::kernel::bpf::sys;
use crate::kernel::netfilter::{MASQUERADE_MARK, Netfilter, NetfilterError, Ruleset};
use crate::kernel::node::netns;
use crate::kernel::packets::clsact;

/// The index of the loopback device in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// The elements of the NAT maps here.
const FEW: u32 = 16;

/// What the program for packets is attached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceHook {
    /// Linux 6.6 and later.
    Tcx,
    Clsact,
}

/// What the kernel allowed.
#[derive(Debug)]
pub struct PacketTrial {
    /// None if no program was given.
    pub hook: Option<io::Result<DeviceHook>>,
    /// Whether it took our rules.
    pub netfilter: Result<(), NetfilterError>,
}

/// Attaches the program to a device, and makes the rules of netfilter. As for a start, the kernel may load modules of its own
/// for that.
///
/// # Errors
/// EPERM: CAP_SYS_ADMIN, which a new network namespace needs, is missing.
pub fn try_packets(programs: Option<&PacketPrograms>) -> io::Result<PacketTrial> {
    netns::in_new(|| PacketTrial {
        hook: programs.map(|programs| attach(programs.ethernet.as_fd())),
        netfilter: Netfilter::open(Ruleset {
            capacity: FEW,
            masquerade_mark: MASQUERADE_MARK,
            drops_invalid: false,
        })
        .map(drop),
    })
}

fn attach(program: BorrowedFd<'_>) -> io::Result<DeviceHook> {
    if sys::has_tcx() {
        return sys::create_tcx_link(program, LOOPBACK).map(|_| DeviceHook::Tcx);
    }
    clsact::attach(LOOPBACK, program).map(|_| DeviceHook::Clsact)
}
