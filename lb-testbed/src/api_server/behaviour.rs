//! Which kind of API server this one is like: what differs between versions, and nothing that is a fault.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What becomes of `sendInitialEvents`.
    pub streaming_lists: StreamingLists,
    /// Whether there are ServiceCIDRs; old servers answer 404.
    pub service_cidrs: bool,
    /// How often a watch that wants bookmarks gets one.
    pub bookmarks_every: Duration,
    /// Whether a watch from a forgotten revision is refused with HTTP status 410, and not in the stream.
    pub gone_as_http: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamingLists {
    /// The objects, then a bookmark that says that these were all.
    Served,
    /// 422, as by a server that has them switched off.
    Refused,
    /// As by a server that is too old to know the words.
    Ignored,
}

/// A current server, but with bookmarks so often that no test has to wait long for one.
impl Default for Behaviour {
    fn default() -> Self {
        Self {
            streaming_lists: StreamingLists::Served,
            service_cidrs: true,
            bookmarks_every: Duration::from_millis(500),
            gone_as_http: false,
        }
    }
}
