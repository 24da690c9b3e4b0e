//! What the agent remembers between two events of the programs.

use std::collections::HashMap;

use lb_common::event::KINDS;

use super::client_networks::ClientNetworks;
use crate::policy::ServicePortKey;

/// The state between two events.
#[derive(Debug, Default)]
pub struct EventFeed {
    /// Somebody follows.
    pub is_on: bool,
    /// See [`crate::kernel::ProgramEvents::dropped`].
    pub dropped: [u64; KINDS as usize],
    /// Service ports by id. No id is used twice.
    pub names: HashMap<u32, ServicePortKey>,
    pub networks: ClientNetworks,
}
