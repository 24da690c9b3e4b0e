//! The agent's table of session affinity. The bench removes clients from it, so that their next connection is a first one again.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use lb_common::TABLES_VERSION;
use lb_common::affinity::AffinityKey;
use lb_testbed::Agent;

/// The table's pin.
#[derive(Debug)]
pub(super) struct AffinityPin(PathBuf);

impl AffinityPin {
    pub(super) fn of(agent: &Agent) -> Self {
        let folder = agent.pin_dir().join(format!("tables-v{TABLES_VERSION}"));
        Self(folder.join("AFFINITY"))
    }

    pub(super) fn open(&self) -> Result<AffinityTable> {
        let map = MapData::from_pin(&self.0)
            .with_context(|| format!("cannot open {}", self.0.display()))?;
        Ok(AffinityTable(HashMap::try_from(Map::LruHashMap(map))?))
    }
}

#[derive(Debug)]
pub(super) struct AffinityTable(HashMap<MapData, AffinityKey, u64>);

impl AffinityTable {
    pub(super) fn keys(&self) -> Result<Vec<AffinityKey>> {
        let keys: Result<_, MapError> = self.0.keys().collect();
        keys.context("cannot read AFFINITY")
    }

    pub(super) fn remove(&mut self, keys: &[AffinityKey]) -> Result<()> {
        for key in keys {
            match self.0.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("cannot write AFFINITY"),
            }
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<()> {
        self.remove(&self.keys()?)
    }
}
