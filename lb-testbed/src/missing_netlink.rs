//! Makes a protocol of netlink look as if the kernel did not have it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// A filter of system calls that lets socket(2) fail for one protocol of netlink, with EPROTONOSUPPORT as `netlink_create` does
/// (net/netlink/af_netlink.c).
#[derive(Clone, Debug)]
pub struct MissingNetlink(BpfProgram);

impl MissingNetlink {
    /// `protocol`: as NETLINK_NETFILTER.
    pub fn new(protocol: i32) -> Result<Self> {
        let is = |argument, value: i32| {
            SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Eq,
                u64::from(value.unsigned_abs()),
            )
        };
        let of_protocol = SeccompRule::new(vec![is(0, libc::AF_NETLINK)?, is(2, protocol)?])?;
        let filter = SeccompFilter::new(
            [(libc::SYS_socket, vec![of_protocol])].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPROTONOSUPPORT.unsigned_abs()),
            TargetArch::try_from(std::env::consts::ARCH)?,
        )?;
        Ok(Self(filter.try_into().context("cannot make the filter")?))
    }

    /// Installs the filter in the process that the command starts; sets no_new_privs.
    pub fn hide_from(self, command: &mut Command) {
        // SAFETY: between fork and exec only prctl and seccomp are called, which are async-signal-safe and allocate nothing.
        unsafe {
            command.pre_exec(move || apply_filter(&self.0).map_err(|_| io::Error::last_os_error()));
        }
    }
}
