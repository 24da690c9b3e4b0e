//! A small Kubernetes node for tests, benches and the playground. Pods are network namespaces, the node is a cgroup of its own,
//! and nothing in it has a route to the machine's network.
//!
//! A test of the data path is an ordinary `#[test]` function:
//!
//! ```no_run
//! use lb_testbed::{NamedServer, connect_name, sandboxed};
//!
//! #[test]
//! fn a_pod_answers() {
//!     sandboxed(|sandbox| {
//!         let pods = sandbox.pods(2)?;
//!         let _server = NamedServer::tcp(&pods[0], 8080, "zero")?;
//!         let name = pods[1].enter(|| connect_name((pods[0].ipv4(), 8080)))??;
//!         assert_eq!(name, "zero");
//!         Ok(())
//!     });
//! }
//! ```

pub mod api_server;
mod harness;
mod sandbox;

mod agent;
mod agent_process;
mod capabilities;
mod chi_square;
mod client;
mod kept;
mod log;
mod manifest;
mod missing_netlink;
mod node;
mod patience;
mod pod;
mod question;
mod routed;
mod runtime;
mod server;
pub mod starvation;
mod status;

mod cgroup;
mod foreground;
mod namespace;
mod supervisor;

pub use agent::Agent;
pub use agent_process::AgentProcess;
pub use capabilities::with_only;
pub use cgroup::Cgroup;
pub use chi_square::ChiSquare;
pub use client::{ask_udp, connect, connect_name};
pub use foreground::wait_in_foreground;
pub use harness::{sandboxed, sandboxed_within};
pub use kept::KeptSockets;
pub use log::{Event, Log};
pub use manifest::{Endpoint, Manifests, ServiceManifest, SliceManifest};
pub use missing_netlink::MissingNetlink;
pub use namespace::NetworkNamespace;
pub use node::Node;
pub use patience::{Deadline, patiently, stretched, was_starved};
pub use pod::{Family, Pod};
pub use question::{Answer, Question};
pub use routed::{CLUSTER_CIDRS, Link, Outside, RemoteNode, RoutedNode};
pub use runtime::runtime;
pub use sandbox::{Sandbox, SandboxConfig};
pub use server::NamedServer;
pub use status::{AgentHook, AgentPackets, AgentStatus, AgentSyncs, ask_status};
pub use supervisor::{Ended, Supervised, die_with_parent, require_root};
