//! The layouts of the readable versions.
//!
//! A release that changes a layout puts the old one into a file of its own here, as `v1.rs` does for the rehearsal.

use super::layout::{Layout, OURS};

/// None for an unreadable version.
pub fn of(version: u32) -> Option<&'static Layout> {
    let known = [
        &OURS,
        #[cfg(feature = "next-layout")]
        &super::v1::V1,
    ];
    known.into_iter().find(|layout| layout.version == version)
}
