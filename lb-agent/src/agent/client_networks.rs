//! The names of the network namespaces from which calls come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::kernel::network_cookie;
use crate::sockets::{Answer, Worker};

/// The least time between two searches.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// The names as `lb-agent connections` shows them, by SO_NETNS_COOKIE: those of the last search.
#[derive(Debug, Default)]
pub struct ClientNetworks {
    names: HashMap<u64, String>,
    last_search: Option<Instant>,
    under_way: Option<Answer<HashMap<u64, String>>>,
}

impl ClientNetworks {
    /// A namespace's name. None: it is not known yet.
    pub fn name(&self, cookie: u64) -> Option<&str> {
        self.names.get(&cookie).map(String::as_str)
    }

    /// Searches for new namespaces, unless it has just been done.
    pub fn search(&mut self, worker: &Worker) {
        let is_recent = |last: Instant| last.elapsed() < SEARCH_EVERY;
        if self.under_way.is_some() || self.last_search.is_some_and(is_recent) {
            return;
        }
        self.last_search = Some(Instant::now());
        self.under_way = Some(worker.name_namespaces(|| network_cookie().ok()));
    }

    /// Takes the result of the search under way.
    pub async fn found(&mut self) {
        let result = match &mut self.under_way {
            Some(answer) => answer.await,
            None => std::future::pending().await,
        };
        self.under_way = None;
        match result {
            Ok(Ok(names)) => self.names = names,
            Ok(Err(error)) => tracing::debug!(
                event = "events.networks_not_named",
                %error,
                "cannot list the network namespaces: events do not name them",
            ),
            // Other jobs of the thread report its end.
            Err(_) => {}
        }
    }
}
