//! Removes the table for `lb-agent unload`.

use super::error::NetfilterError;
use super::found;
use super::found::is_interrupted;
use super::socket::{ATTEMPTS, Netlink};

/// Removes our table from the calling thread's network namespace. Returns whether there was one. Another program's table
/// of this name stays.
///
/// # Errors
/// The kernel does not allow it.
pub fn unload() -> Result<bool, NetfilterError> {
    let Ok(mut netlink) = Netlink::open() else {
        // A kernel without nfnetlink has no tables.
        return Ok(false);
    };
    for _ in 0..ATTEMPTS {
        let generation = match found::generation(&mut netlink).map_err(NetfilterError::opening) {
            Err(NetfilterError::Unavailable(_)) => return Ok(false),
            generation => generation?,
        };
        match found::table(&mut netlink) {
            Err(error) if is_interrupted(&error) => continue,
            found => match found.map_err(NetfilterError::reading)? {
                Some(found) if found.is_marked => {}
                _ => return Ok(false),
            },
        }
        let mut batch = netlink.batch(Some(generation));
        batch.delete_table();
        match netlink.commit(batch) {
            Ok(()) => return Ok(true),
            Err(refusal) if refusal.error.raw_os_error() == Some(libc::ERESTART) => {}
            Err(refusal) => return Err(NetfilterError::writing(refusal.part, refusal.error)),
        }
    }
    Err(NetfilterError::Busy(ATTEMPTS))
}
