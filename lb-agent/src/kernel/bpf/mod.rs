//! System calls, the object of the programs, and its parts: hooks, log, counters.

pub mod btf;
pub mod crash_points;
pub mod event_ring;
pub mod events;
pub mod failure_hooks;
pub mod grace;
pub mod hooks;
pub mod kernel_function;
pub mod loader;
pub mod log;
pub mod metrics;
pub mod socket_fields;
pub mod stats;
pub mod syn_timeout;
pub mod sys;
