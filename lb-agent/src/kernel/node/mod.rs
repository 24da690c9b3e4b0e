//! The properties of a node that the agent depends on, and the errors of a node.

pub mod capabilities;
pub mod cgroup;
pub mod error;
pub mod memory_limit;
pub mod netns;
