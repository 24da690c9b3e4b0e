//! Hands the pin folder over to another agent that asks for it.

use super::state::Agent;
use super::take_over::identity;
use crate::kernel::Pins;
use crate::serve::{HandOver, Serving};

impl Agent {
    /// Whether the other agent asks for the folder that this agent holds.
    pub(super) fn is_asked_for(&self, wanted: &HandOver) -> bool {
        let ours = identity(self.opened.keeper.folder());
        let is_ours = ours.is_ok_and(|ours| ours == (wanted.device, wanted.inode));
        if is_ours {
            tracing::info!(
                event = "hand_over.asked",
                version = wanted.version,
                path = %self.opened.keeper.folder().display(),
                "another agent asks for the pin folder: handing it over",
            );
        }
        is_ours
    }

    /// Closes everything, and returns the folder, still locked.
    pub(super) async fn close_for_hand_over(mut self, http: Option<Serving>) -> Pins {
        // The successor gets the full time until it sends its own first heartbeat.
        self.send_heartbeat();
        self.changes.log_summary();
        if let Some(http) = http {
            http.close().await;
        }
        self.server.close().await;
        self.duties.close();
        self.opened.keeper.into_pins()
    }
}
