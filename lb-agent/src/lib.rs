//! The node agent as a library: one room per step of the way from a Service to the kernel.
//!
//! Imports run only downwards: cli, commands, then source and policy, then catalog.

pub mod catalog;
pub mod cli;
pub mod commands;
pub mod kernel;
pub mod policy;
pub mod privileges;
pub mod serve;
pub mod sockets;
pub mod source;
pub mod tables;
