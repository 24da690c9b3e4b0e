//! What a node gives the agent, and what can be wrong with it.

pub mod capabilities;
pub mod cgroup;
pub mod error;
pub mod memory_limit;
pub mod mountinfo;
pub mod netns;
