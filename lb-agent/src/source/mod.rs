//! Where Services, EndpointSlices and Nodes come from: today, files with ordinary Kubernetes manifests.

pub mod manifests;
pub mod node_addresses;

use crate::catalog::{Change, Problem};

pub use self::manifests::{Manifests, OpenError};

/// All that a source has, the first time it is asked.
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
    /// Nothing is missing because it could not be read.
    pub is_complete: bool,
}
