//! CONFIG: an array of 64-bit words that the agent writes.

/// How many words CONFIG has; unused ones are 0.
pub const WORDS: u32 = 64;

/// The next service port id to give out; ids are not used twice.
pub const NEXT_SERVICE_PORT: u32 = 0;

/// The cookie of the host's network namespace (SO_NETNS_COOKIE); 0: not known.
pub const HOST_NETNS: u32 = 1;
