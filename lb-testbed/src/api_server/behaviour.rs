//! Differences between versions of API servers that are not faults.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// The answer to `sendInitialEvents`.
    pub streaming_lists: StreamingLists,
    /// Whether the server has ServiceCIDRs; old servers answer 404.
    pub service_cidrs: bool,
    /// The period of bookmarks, on watches that ask for them.
    pub bookmarks_every: Duration,
    /// Whether a watch from a compacted revision gets HTTP status 410, instead of an `ERROR` event.
    pub gone_as_http: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamingLists {
    /// The server sends the objects, then a bookmark that marks their end.
    Served,
    /// 422, as from a server with the feature gate off.
    Refused,
    /// The parameter has no effect, as on an older server.
    Ignored,
}

/// A current server, but with frequent bookmarks, so that no test has to wait long for one.
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
