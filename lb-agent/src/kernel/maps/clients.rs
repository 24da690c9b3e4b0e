//! CLIENTS: read and written by system call. See [`lb_common::client`].

use std::fmt;
use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use lb_common::client::SELECTION;

use super::hash::{hash, hash_at, io_error};
use crate::kernel::node::error::KernelError;

pub const NAME: &str = "CLIENTS";

/// The contents of CLIENTS: a value of [`lb_common::client`] for each cookie.
pub type Clients = std::collections::HashMap<u64, u64>;

/// What happens to CLIENTS at a start.
#[derive(Clone, Debug)]
pub enum StartClients {
    /// All clients are served: CLIENTS is emptied after the programs are attached.
    Off,
    /// CLIENTS stays as an earlier agent with the same selection has left it.
    Kept,
    /// CLIENTS has this contents before the programs are attached.
    Replaced(Clients),
}

/// The network namespaces that the hooks serve.
pub struct ClientMap(HashMap<MapData, u64, u64>);

impl fmt::Debug for ClientMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl ClientMap {
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        hash(object, NAME).map(Self)
    }

    /// Opens the pinned map.
    pub fn at(path: &Path) -> Result<Self, KernelError> {
        hash_at(path).map(Self)
    }

    /// All elements.
    pub fn all(&self) -> io::Result<Clients> {
        self.0.iter().collect::<Result<_, _>>().map_err(io_error)
    }

    /// The value of one element; none: there is none.
    pub fn get(&self, cookie: u64) -> io::Result<Option<u64>> {
        match self.0.get(&cookie, 0).map_err(io_error) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes these the only elements. The selection is written last, so that an agent that ends meanwhile leaves none that the next
    /// one would keep.
    pub fn replace(&mut self, wanted: &Clients) -> io::Result<()> {
        self.remove(SELECTION)?;
        let others = wanted.iter().filter(|(cookie, _)| **cookie != SELECTION);
        for (&cookie, &value) in others {
            self.put(cookie, value)?;
        }
        for cookie in self.all()?.into_keys() {
            if !wanted.contains_key(&cookie) {
                self.remove(cookie)?;
            }
        }
        match wanted.get(&SELECTION) {
            Some(&selection) => self.put(SELECTION, selection),
            None => Ok(()),
        }
    }

    /// Adds an element, or replaces its value in one step.
    pub fn put(&mut self, cookie: u64, value: u64) -> io::Result<()> {
        self.0.insert(cookie, value, 0).map_err(io_error)
    }

    /// One that does not exist is no error.
    pub fn remove(&mut self, cookie: u64) -> io::Result<()> {
        match self.0.remove(&cookie).map_err(io_error) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
