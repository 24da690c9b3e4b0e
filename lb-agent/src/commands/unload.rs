//! `lb-agent unload`: takes the data path away.

use std::path::Path;

use crate::kernel;

/// Detaches the programs and removes the tables; connections that are open stay open.
pub fn unload(pin_dir: &Path) -> anyhow::Result<()> {
    match kernel::unload(pin_dir)? {
        None => println!("nothing to take away: {} does not exist", pin_dir.display()),
        Some(unloaded) => println!(
            "detached {} hooks and removed {} tables from {}; connections that are open stay open",
            unloaded.links,
            unloaded.maps,
            pin_dir.display()
        ),
    }
    Ok(())
}
