//! The packet path, with real packets: from machines outside, from pods without hooks, from pods of another node.

mod affinity;
mod algorithms;
mod attach;
mod beside;
mod cases;
mod clean_up;
mod devices;
mod duties;
mod earlier;
mod flow;
mod flows;
mod forged;
mod hairpin;
mod headers;
mod icmp;
mod links;
mod lives;
mod matrix;
mod outcome;
mod ranges;
mod refusals;
mod repair;
mod rollout;
pub mod scene;
mod stage;
mod unload;
mod without_netfilter;
