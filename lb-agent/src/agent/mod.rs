//! The agent: connects the modules of the crate and runs them until a signal.

mod capacity;
mod change_summary;
mod drift;
mod duties;
mod engine;
#[cfg(test)]
mod golden;
mod grace_wait;
mod hand_over;
pub mod heartbeat;
mod lists;
mod main_loop;
mod metrics;
mod packets;
mod privileges;
mod problem_log;
mod refused_ports;
mod run;
mod settings;
mod signals;
mod source;
mod start;
mod state;
mod status;
mod sweeper;
mod take_over;
mod tenure;
mod terminator;

pub use self::drift::DriftWatch;
pub use self::metrics::AgentMetrics;
pub use self::run::run;
pub use self::settings::AgentSettings;
