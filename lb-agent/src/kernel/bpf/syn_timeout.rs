//! `--syn-timeout`: the program that shortens the first retransmission of a SYN.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use aya::Ebpf;
use aya_obj::generated::bpf_attach_type;
use rustix::time::{ClockId, clock_getres};

use super::sys;
use crate::kernel::node::cgroup::Cgroup;
use crate::kernel::node::error::KernelError;

const PROGRAM: &str = "syn_timeout";

/// The attached program; dropping it detaches it. It is not pinned: without an agent the kernel's own time-out applies.
#[derive(Debug)]
pub struct SynTimeout {
    _link: OwnedFd,
}

impl SynTimeout {
    /// None if the program was not loaded, since nobody asked for it.
    pub fn attach(object: &Ebpf, cgroup: &Cgroup) -> Result<Option<Self>, KernelError> {
        let Some(program) = object.program(PROGRAM).and_then(|of| of.fd().ok()) else {
            return Ok(None);
        };
        let hook = bpf_attach_type::BPF_CGROUP_SOCK_OPS;
        let link = sys::create_link(program.as_fd(), cgroup.as_fd(), hook);
        let link = link.map_err(|error| KernelError::Attach {
            program: PROGRAM.to_owned(),
            cgroup: cgroup.path.clone(),
            error,
        })?;
        Ok(Some(Self { _link: link }))
    }
}

/// A time in jiffies, at least 1. None: 0.
///
/// # Errors
/// The length of a jiffy cannot be read.
pub fn jiffies(time: Option<Duration>) -> io::Result<u32> {
    let Some(time) = time else {
        return Ok(0);
    };
    // The resolution of the coarse clock is one jiffy (`posix_get_coarse_res` in kernel/time/posix-timers.c).
    let jiffy = Duration::try_from(clock_getres(ClockId::MonotonicCoarse)).unwrap_or_default();
    if jiffy.is_zero() {
        return Err(io::Error::other("the coarse clock has no resolution"));
    }
    let jiffies = time.as_nanos().div_ceil(jiffy.as_nanos());
    Ok(u32::try_from(jiffies).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jiffy_is_1_to_10_milliseconds() {
        assert_eq!(jiffies(None).expect("it is 0"), 0);
        let second = jiffies(Some(Duration::from_secs(1))).expect("a clock");
        assert!((100..=1_000).contains(&second), "{second}");
        assert_eq!(jiffies(Some(Duration::from_nanos(1))).expect("a clock"), 1);
    }
}
