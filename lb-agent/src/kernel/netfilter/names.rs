//! The names of the table and its maps.

use std::ffi::CStr;

/// The table, of the family `inet`.
pub const TABLE: &CStr = c"socklb";

/// The comment that marks the table as ours. A table of this name without it belongs to another program.
pub const COMMENT: &CStr = c"managed by socklb";

/// From a CHOICE without MASQUERADE to a backend's address and port.
pub const BACKENDS4: &CStr = c"backends4";
pub const BACKENDS6: &CStr = c"backends6";

pub const MAPS: [&CStr; 2] = [BACKENDS4, BACKENDS6];
