//! The folder in which maps and links outlive the agent.

pub mod dir;
pub mod folder;
pub mod holder;
pub mod host;
pub mod keeper;
pub mod lock;
pub mod owner;
pub mod read;
pub mod sets;
pub mod table_set;
pub mod unload;
