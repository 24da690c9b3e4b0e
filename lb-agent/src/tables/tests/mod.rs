//! The promises of the tables, held against random changes, store by store.

mod accounts;
#[cfg(feature = "fuzzing")]
pub mod anything;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod cases;
mod checks;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drift;
mod memory;
#[cfg(test)]
mod properties;
mod reader;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod stale;
pub mod world;
