//! The guarantees of the tables, checked against random changes after every store.

mod capacity;
mod cases;
mod crash;
mod drift;
mod properties;
mod sockets;
mod stale;
mod steps;
