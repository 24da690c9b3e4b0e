//! What the tables contain, as far as the agent wrote it or found it there. No part of it does I/O but [`read`].

mod extents;
mod free;
mod guards;
mod held;
mod ids;
mod prefix;
mod quarantine;
mod read;
mod record;

pub use self::free::Free;
#[cfg(any(test, feature = "fuzzing"))]
pub use self::guards::is_guard;
pub use self::guards::{guard_key, guard_value};
pub use self::held::{HeldBackend, HeldFrontend, HeldPort, HeldView, find_backend};
pub use self::prefix::in_order;
pub use self::quarantine::Item;
pub use self::read::{Found, load_backend, load_frontend, load_view, read};
pub use self::record::{Model, Stops};
