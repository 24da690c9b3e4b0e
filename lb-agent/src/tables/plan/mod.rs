//! What to store, and in which order, so that the tables contain what the policy wants. Knows the model; does no I/O.
//!
//! A plan concerns one service port, one guard, or one word, so that memory stays flat however large an update is. Readers run
//! between any two steps, and see the old choice of a frontend or the new one, whole:
//!
//! 1. backends into free ids, slots into a free run, then one store of the view's `slots`;
//! 2. a frontend's element after the view that it names;
//! 3. whatever no longer has a name is quarantined before it is used again.

mod add;
mod assign;
mod config;
mod found;
mod guards;
mod maglev;
mod nat;
mod reduced;
mod repair;
mod reuse_ids;
mod rollout;
mod rows;
mod slots;
mod step;
mod trim;

pub use self::assign::ApplyError;
pub use self::config::{packet_path, refuse_unknown};
pub use self::found::clear_found;
pub use self::guards::prefixes;
pub use self::nat::repair_nat;
pub use self::repair::{renew_slots, repair_config, repair_port, words_of};
pub use self::rollout::{Refused, Rollout, Task};
pub use self::rows::config_word;
pub use self::step::{Plan, Record, Step};
