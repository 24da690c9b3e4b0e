//! Waits until every running program has ended.

use std::os::fd::{AsFd as _, OwnedFd};

use super::sys;
use crate::kernel::node::error::KernelError;

/// Waits by updating a cell of a map that exists only for this. `membarrier` is no substitute: on one CPU it waits for
/// nothing.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    pub fn new() -> Result<Self, KernelError> {
        let made = sys::create_array().and_then(|inner| {
            let outer = sys::create_array_of_maps(inner.as_fd())?;
            Ok(Self { outer, inner })
        });
        made.map_err(KernelError::system("create the map for grace periods"))
    }

    /// Blocks for 10 to 20 ms, as `synchronize_rcu` does.
    pub fn wait(&self) -> Result<(), KernelError> {
        sys::put_map(self.outer.as_fd(), self.inner.as_fd())
            .map_err(KernelError::system("wait for a grace period"))
    }
}
