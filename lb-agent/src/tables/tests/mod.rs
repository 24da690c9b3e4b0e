//! The promises of the tables, held against random changes, store by store.

mod cases;
mod memory;
mod properties;
mod reader;
mod stale;
mod world;
