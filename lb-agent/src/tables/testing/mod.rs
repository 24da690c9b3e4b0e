//! Tables in plain memory and their invariants, for the tests of the tables and for the fuzzer.

mod accounts;
#[cfg(feature = "fuzzing")]
pub mod anything;
mod checks;
mod memory;
mod reader;
pub mod world;

#[cfg(test)]
pub use self::accounts::check_quarantine_for_sockets;
pub use self::accounts::{check_allocators, grace};
#[cfg(test)]
pub use self::checks::Allowed;
pub use self::checks::check_reads_back;
pub use self::memory::{Memory, State};
#[cfg(test)]
pub use self::reader::{cell, choice, outside, wanted};
