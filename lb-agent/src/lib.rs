//! The node agent as a library: one module for each step from a Service to the kernel.
//!
//! Imports run only downwards: cli, commands, agent, connections and check, kernel, tables and duties, then source, policy, serve,
//! sockets and privileges, then catalog, then counted, metrics, mountinfo and route_changes. `cargo xtask test tidy` checks that.

pub mod agent;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod commands;
pub mod connections;
mod counted;
pub mod duties;
pub mod kernel;
pub mod metrics;
pub mod mountinfo;
pub mod policy;
pub mod privileges;
pub mod route_changes;
pub mod serve;
pub mod sockets;
pub mod source;
pub mod tables;
