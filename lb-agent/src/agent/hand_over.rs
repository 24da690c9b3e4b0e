//! Hands the pin folder over to another agent that asks for it.

use super::state::Agent;
use super::take_over::identity;
use crate::kernel::Pins;
use crate::serve::{HandOver, Serving};

impl Agent {
    /// Whether it is this agent's folder that another one wants.
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

    /// Closes everything and gives the folder back, still locked.
    pub(super) async fn close_for_hand_over(mut self, http: Option<Serving>) -> Pins {
        // The other one has all the time that there is until it does this itself.
        self.send_heartbeat();
        self.changes.sum_up();
        if let Some(http) = http {
            http.close().await;
        }
        self.server.close().await;
        self.opened.keeper.into_pins()
    }
}
