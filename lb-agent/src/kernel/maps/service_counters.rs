//! SERVICE_COUNTERS: read and pruned by system call.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{HashMap, IterableMap as _, MapData};
use bytemuck::Zeroable as _;
use lb_common::ServiceCounters;

use super::hash::{hash, io_error};
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;

pub const NAME: &str = "SERVICE_COUNTERS";

/// The number of elements in one read.
const BATCH: usize = 256;

/// The counters of service ports, by id.
pub struct ServiceCounterMap(HashMap<MapData, u32, ServiceCounters>);

impl fmt::Debug for ServiceCounterMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl ServiceCounterMap {
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        hash(object, NAME).map(Self)
    }

    /// The counters of all service ports that have any.
    pub fn all(&self) -> io::Result<std::collections::HashMap<u32, ServiceCounters>> {
        let mut keys = vec![0_u32; BATCH];
        let mut values = vec![ServiceCounters::zeroed(); BATCH];
        let mut all = std::collections::HashMap::new();
        let mut position = Some(0);
        while let Some(from) = position {
            let fd = self.0.map().fd().as_fd();
            let (number, next) = sys::read_hash(fd, from, &mut keys, &mut values)?;
            let elements = keys.iter().copied().zip(values.iter().copied());
            all.extend(elements.take(number));
            position = next;
        }
        Ok(all)
    }

    /// Removes the counters of a service port whose id is in use no longer. None is no error.
    pub fn remove(&mut self, id: u32) -> io::Result<()> {
        match self.0.remove(&id).map_err(io_error) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
