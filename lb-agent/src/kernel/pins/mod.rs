//! The folder whose maps and links outlive the agent.

pub mod folder;
pub mod folders;
pub mod holder;
pub mod host;
pub mod keeper;
pub mod lock;
pub mod owner;
pub mod read_tables;
pub mod sets;
pub mod table_set;
pub mod unload;
