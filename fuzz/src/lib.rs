//! Feeds arbitrary input to the code that reads from outside. It may report errors, but must neither panic nor contradict
//! itself.
//!
//! Each target takes a piece of bytes; `cargo xtask fuzz` runs them.

mod effect;
pub mod manifests;
mod server;
pub mod watch;

use arbitrary::{Arbitrary as _, Unstructured};
use lb_agent::tables::testing::anything::Anything;

/// Pinned tables with arbitrary contents.
pub fn recover(bytes: &[u8]) {
    if let Ok(anything) = Anything::arbitrary_take_rest(Unstructured::new(bytes)) {
        anything.check();
    }
}
