//! A data path that serves one cgroup for as long as a value exists: nothing of it is pinned.

use std::os::fd::OwnedFd;

use aya::Ebpf;

use super::programs::{Extent, load_object};
use crate::kernel::bpf::hooks;
use crate::kernel::maps::backing::Maps;
use crate::kernel::node::cgroup::Cgroup;
use crate::kernel::node::error::KernelError;

/// Attached programs on tables of their own.
#[derive(Debug)]
pub struct OwnDataPath {
    _object: Ebpf,
    _links: Vec<OwnedFd>,
}

impl OwnDataPath {
    /// Loads the programs and attaches them to the cgroup, after its own and before those of the cgroups above. Returns
    /// the tables too.
    ///
    /// # Errors
    /// The kernel refuses a program or a table, or does not let one be attached.
    pub fn attach(cgroup: &Cgroup) -> Result<(Self, Maps), KernelError> {
        let (mut object, _) = load_object(Extent::Sockets)?;
        let maps = Maps::take(&mut object)?;
        let links = hooks::attach_for_now(&object, cgroup)?;
        let data_path = Self {
            _object: object,
            _links: links,
        };
        Ok((data_path, maps))
    }
}
