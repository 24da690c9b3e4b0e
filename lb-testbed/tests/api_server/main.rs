//! The testbed's API server with its real clients: kube's client and watcher, and kubectl, over real HTTP.

mod faults;
mod kubectl;
mod lists;
mod support;
mod watches;
mod writes;
