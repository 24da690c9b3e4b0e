//! The data path on the real kernel: loaded and attached programs, real sockets, pods as network namespaces.
//!
//! Each test runs in a sandbox of its own (`lb_testbed::sandboxed`): nothing that it does affects the machine.

mod aside;
mod bound;
mod capacity;
mod cgroups;
mod check;
mod choice;
mod churn;
mod clients;
mod connect;
mod container;
mod counts;
mod dns;
mod drift;
mod dump;
mod duties;
mod endurance;
mod events;
mod foreign;
mod frontends;
mod full;
mod handover;
mod kubernetes;
mod leaks;
mod lists;
mod loopback;
mod memory;
mod migrate;
mod netfilter;
mod node;
#[path = "../shared/orphan.rs"]
mod orphan;
mod outliers;
mod packets;
mod privileges;
mod probes;
mod prometheus;
mod resolver;
mod restart;
mod scale;
mod service_metrics;
mod sockets;
mod spill_over;
mod stale;
mod support;
mod udp;
mod weights;
