//! The live sockets that went through Services: their entries in ORIGINS and SPILL joined with the kernel's lists of sockets.
//!
//! All of it runs in the process that asks, beside a running agent or without one. It only reads, so it costs the agent nothing
//! but the answer with the names of its frontends.

mod connection;
mod error;
mod filter;
mod list;
mod names;

pub use self::connection::{Connection, Figures, NetworkNamespace, Process, ServicePortName};
pub use self::error::ConnectionsError;
pub use self::filter::{BackendFilter, Filter, ServiceFilter};
pub use self::list::Found;
pub use self::names::{Names, NamesError};
