//! Where Services, EndpointSlices and Nodes come from: the Kubernetes API, or files with ordinary manifests.

pub mod kubernetes;
pub mod manifests;
pub mod node_addresses;
mod object_errors;

use std::path::PathBuf;
use std::time::Instant;

use crate::catalog::{Change, Problem};

pub use self::kubernetes::Kubernetes;
pub use self::manifests::{Manifests, OpenError};

/// Where Services come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files and folders.
    Manifests(Vec<PathBuf>),
    Kubernetes(kubernetes::KubernetesSettings),
}

/// All that manifests have, the first time they are read.
#[derive(Debug, Default)]
pub struct Listing {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    /// Nothing is missing because it could not be read.
    pub is_complete: bool,
    /// How many objects were read.
    pub objects: usize,
    /// How many files were read.
    pub files: usize,
    /// How many objects of other kinds were passed over.
    pub passed_over: usize,
}

/// What a source has learnt since.
#[derive(Debug, Default)]
pub struct Batch {
    pub changes: Vec<Change>,
    /// All that is wrong with the source now, not only what is new.
    pub problems: Vec<Problem>,
    /// Every kind of object was listed once: what is not known is not there.
    pub has_listed: bool,
    /// Nothing is missing because it could not be read.
    pub is_complete: bool,
    /// When the first of the changes came; none where that is not known.
    pub heard: Option<Instant>,
}

impl Batch {
    /// Adds what came after it.
    pub fn append(&mut self, mut later: Self) {
        self.changes.append(&mut later.changes);
        *self = Self {
            changes: std::mem::take(&mut self.changes),
            heard: self.heard.or(later.heard),
            ..later
        };
    }
}
