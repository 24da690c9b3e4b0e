//! The testbed's API server, asked by those who will ask it: kube's client and watcher, and kubectl, over real HTTP.

mod faults;
mod kubectl;
mod lists;
mod support;
mod watches;
mod writes;
