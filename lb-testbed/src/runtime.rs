//! tokio's runtime for one thread, as everything here uses it.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime on the calling thread, with sockets and time.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
