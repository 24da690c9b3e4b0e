//! The layouts of the versions that can be read.
//!
//! A release that changes a layout puts what it was into a file of its own here, as `v1.rs` does for the rehearsal.

use super::layout::{Layout, OURS};

/// None for a version that cannot be read.
pub fn of(version: u32) -> Option<&'static Layout> {
    let known = [
        &OURS,
        #[cfg(feature = "next-layout")]
        &super::v1::V1,
    ];
    known.into_iter().find(|layout| layout.version == version)
}
