//! The programs that notice failed connects, for outlier detection: attached to tracepoints only while a Service wants it.
//!
//! Raw tracepoints, since aya reads all of the kernel's types to load a program for a BTF tracepoint. Both kinds run at the same
//! places.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Ebpf;

use super::sys;

/// The names of the programs, and of their tracepoints (include/trace/events/tcp.h).
const HOOKS: [(&str, &CStr); 2] = [
    ("tcp_retransmit_skb", c"tcp_retransmit_skb"),
    ("tcp_receive_reset", c"tcp_receive_reset"),
];

#[derive(Debug, thiserror::Error)]
pub enum FailureHookError {
    #[error(
        "the kernel does not accept the programs for it: it needs BTF (CONFIG_DEBUG_INFO_BTF), and no lockdown for confidentiality"
    )]
    NotLoaded,
    #[error("cannot attach a program to the tracepoint {name}: {error}")]
    Attach {
        name: &'static str,
        #[source]
        error: io::Error,
    },
}

/// The programs, attached or not.
#[derive(Debug)]
pub struct FailureHooks {
    /// None: the kernel has not accepted them.
    programs: Option<Vec<OwnedFd>>,
    /// Closing one detaches its program.
    links: Vec<OwnedFd>,
}

impl FailureHooks {
    /// Attaches nothing yet.
    pub fn of(object: &Ebpf) -> Self {
        let open = |(name, _)| {
            let program = object.program(name)?;
            program.fd().ok()?.as_fd().try_clone_to_owned().ok()
        };
        Self {
            programs: HOOKS.into_iter().map(open).collect(),
            links: Vec::new(),
        }
    }

    #[must_use]
    pub const fn is_attached(&self) -> bool {
        !self.links.is_empty()
    }

    pub fn attach(&mut self) -> Result<(), FailureHookError> {
        let programs = self.programs.as_ref().ok_or(FailureHookError::NotLoaded)?;
        self.links.clear();
        let mut links = Vec::new();
        for (program, (name, tracepoint)) in programs.iter().zip(HOOKS) {
            let link = sys::attach_to_tracepoint(program.as_fd(), tracepoint);
            links.push(link.map_err(|error| FailureHookError::Attach { name, error })?);
        }
        self.links = links;
        Ok(())
    }

    pub fn detach(&mut self) {
        self.links.clear();
    }
}
