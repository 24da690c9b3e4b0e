//! Takes over what is pinned, whatever its sizes and as long as its layouts can be read, without a gap.
//!
//! Where it fits, programs are swapped and that is all. Where it does not, a new set of tables is filled from the old one
//! (`copy`), the hooks are moved to it one by one, and then what was counted in the old one meanwhile is added (`settle`).
//! Maps that neither have another length nor another layout are in both sets, so nothing of them is copied. ORIGINS is always
//! the same: a socket may be remembered by an old program and released by a new one.
//!
//! An agent may be killed at any point of this. Until the first hook is moved, the next one begins anew; from then on it
//! goes on, whatever its own sizes are, and looks at those after that. While hooks use two sets, `active` of neither is whole,
//! so least-conn may choose badly: for some milliseconds, or until the next agent.

mod copy;
mod in_use;
mod layout;
mod mover;
mod settle;
#[cfg(feature = "next-layout")]
mod v1;
mod versions;

pub use self::mover::{InPlace, put_into_place};
