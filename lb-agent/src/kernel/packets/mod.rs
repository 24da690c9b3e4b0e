//! The program `packet` on the node's devices.

pub mod attacher;
pub mod clsact;
pub mod devices;
pub mod hook;
