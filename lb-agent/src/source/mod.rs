//! The sources of Services, EndpointSlices and Nodes: the Kubernetes API, or files with ordinary manifests.

mod batch;
mod client_kinds;
pub mod kubernetes;
pub mod manifests;
pub mod node_addresses;
mod object_errors;

use std::path::PathBuf;

pub use self::batch::{Batch, Listing};
pub use self::client_kinds::ClientKinds;
pub use self::kubernetes::Kubernetes;
pub use self::manifests::{Manifests, OpenError};

/// The source of Services.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files and folders.
    Manifests(Vec<PathBuf>),
    Kubernetes(kubernetes::KubernetesSettings),
}
