//! The guarantees of the tables, checked against random changes after every store.

mod capacity;
mod cases;
mod compare;
mod crash;
mod drift;
mod properties;
mod sockets;
mod stale;
mod steps;
