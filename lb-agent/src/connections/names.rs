//! The names of frontends, from the running agent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::connection::ServicePortName;
use super::filter::Filter;
use crate::serve::{self, FetchError};

/// An agent that does not answer within this time is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// A frontend as an entry names it: its id in FRONTEND_LIST, and the address there. The id alone may be another frontend's later.
pub type FrontendId = (u32, SocketAddr);

/// The service ports of frontends. The tables contain no names, so only an agent knows them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// None: the agent does not know it, since its Service was removed, or it is not of a Service that the filter selects.
    frontends: HashMap<FrontendId, Option<Arc<ServicePortName>>>,
}

/// What is needed of an agent's answer: a node may have 100,000 frontends.
#[derive(Debug, Deserialize)]
struct NamedFrontend {
    id: u32,
    address: SocketAddr,
    #[serde(flatten)]
    name: ServicePortName,
}

/// Why an agent named no frontends.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("cannot ask the agent on {}: no answer within {} s", socket.display(), ANSWER_WITHIN.as_secs())]
    Late { socket: PathBuf },
}

impl Names {
    #[must_use]
    pub fn of(&self, frontend: FrontendId) -> Option<&Arc<ServicePortName>> {
        self.frontends.get(&frontend)?.as_ref()
    }

    /// Asks the agent on this socket, if any of these frontends is new.
    ///
    /// `filter`: the same at each call.
    ///
    /// # Errors
    /// No agent answers.
    pub async fn learn(
        &mut self,
        socket: &Path,
        filter: &Filter,
        frontends: impl Iterator<Item = FrontendId>,
    ) -> Result<(), NamesError> {
        let mut new: HashSet<FrontendId> = frontends
            .filter(|frontend| !self.frontends.contains_key(frontend))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let path = filter.selection().of(serve::FRONTENDS);
        let asked = serve::fetch::<Vec<NamedFrontend>>(socket, &path);
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        let known = answer.map_err(|_| NamesError::Late {
            socket: socket.to_owned(),
        })??;
        for NamedFrontend { id, address, name } in known {
            if new.remove(&(id, address)) {
                self.frontends.insert((id, address), Some(Arc::new(name)));
            }
        }
        self.frontends.extend(new.into_iter().map(|id| (id, None)));
        Ok(())
    }
}
