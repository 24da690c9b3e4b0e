//! The promises of the tables, held against random changes, store by store.

mod accounts;
mod cases;
mod checks;
mod crash;
mod memory;
mod properties;
mod reader;
mod stale;
mod sockets;
mod world;
