//! Takes over the pinned data path without a gap, whatever its sizes are, if its layouts are readable.
//!
//! If the pinned tables fit, only the programs are swapped. If not, the agent fills a new set of tables from the old
//! one (`copy`), moves the hooks to it one by one, and then adds what the programs counted in the old set meanwhile
//! (`settle`). A map whose length and layout stay the same is in both sets and not copied. All sets share ORIGINS: an
//! old program may add an entry that a new one removes.
//!
//! An agent may be killed at any point. Before the first hook is moved, the next agent starts again. After that, the
//! next agent continues whatever its own sizes are, and applies its sizes afterwards. While hooks use two sets,
//! `active` is complete in neither, so least-conn may choose badly: for some milliseconds, or until the next agent.

mod copy;
mod in_use;
mod layout;
mod mover;
mod settle;
#[cfg(feature = "next-layout")]
mod v1;
mod versions;

pub use self::mover::{InPlace, put_into_place};

/// Whether an agent of this build can take over tables of this version.
pub fn is_readable(version: u32) -> bool {
    versions::of(version).is_some()
}
