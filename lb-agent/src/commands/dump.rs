//! `lb-agent dump`: the pinned tables as text.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::kernel;
use crate::tables::dump as dump_tables;

/// Writes the tables to stdout, whether an agent runs or not. Changes nothing.
///
/// # Errors
/// No tables are pinned there, they cannot be read, or stdout cannot be written.
pub fn dump(pin_dir: &Path) -> anyhow::Result<()> {
    let Some(tables) = kernel::read_tables(pin_dir)? else {
        bail!(
            "cannot dump tables: none are pinned in {}; start an agent with `lb-agent run`, or name its folder with --pin-dir",
            pin_dir.display()
        );
    };
    let text = dump_tables(&tables, &HashMap::new())
        .with_context(|| format!("cannot read the tables in {}", pin_dir.display()))?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
