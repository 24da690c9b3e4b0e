//! An entry of ORIGINS whose socket closed without its hook, as kernel sockets and sockets of an unknown kind leave it.
//! Both `kernel` and `image` use it.

use std::path::Path;

use anyhow::{Result, bail};
use aya::maps::{Array, Map, MapData};
use lb_common::origin::{Set, set_of};

/// The bit that makes a cookie one that no socket has, but keeps the entry in its set.
const NOBODY: u64 = 1 << 60;

/// Gives the entry of a live socket to a cookie that no socket has. When the socket ends, the release hook does not find the
/// entry.
///
/// `origins`: where ORIGINS is pinned. `cookie`: the socket's (SO_COOKIE).
///
/// # Errors
/// If the map cannot be opened, or has no entry of this socket.
pub fn orphan_entry(origins: &Path, cookie: u64) -> Result<()> {
    let mut sets: Array<MapData, Set> = Map::Array(MapData::from_pin(origins)?).try_into()?;
    let index = set_of(cookie, sets.len() - 1);
    let mut set = sets.get(&index, 0)?;
    let Some(entry) = set.entries.iter_mut().find(|entry| entry.cookie == cookie) else {
        bail!("{}: no entry of socket {cookie}", origins.display());
    };
    entry.cookie |= NOBODY;
    sets.set(index, set, 0)?;
    Ok(())
}
