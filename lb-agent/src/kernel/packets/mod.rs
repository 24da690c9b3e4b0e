//! The program `packet` on the node's devices.

pub mod clsact;
pub mod devices;
pub mod hook;
