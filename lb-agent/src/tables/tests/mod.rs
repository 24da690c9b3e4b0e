//! The promises of the tables, held against random changes, store by store.

mod capacity;
mod cases;
mod crash;
mod drift;
mod properties;
mod sockets;
mod stale;
mod steps;
