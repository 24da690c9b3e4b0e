//! Lists objects of the running agent: in a table, as JSON or YAML, once or again as they change.

mod changes;
mod listed;
mod printer;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use self::changes::Changes;
pub use self::listed::{Column, Listed};
use self::printer::Printer;
use super::output::ListOutput;
use crate::serve::Selection;

/// How often `--watch` asks the agent.
const ROUND: Duration = Duration::from_secs(1);

/// What to list, and how.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The unix socket of the agent.
    pub socket: PathBuf,
    pub selection: Selection,
    pub output: ListOutput,
    pub watch: Watch,
}

/// Whether to print objects again when they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    No,
    /// The objects only.
    Objects,
    /// With the type of each change.
    Events,
}

/// Prints the objects that `ask` returns, in its order; with `--watch` until the agent does not answer.
///
/// # Errors
/// `ask` fails, or stdout cannot be written.
pub async fn list<T: Listed>(
    listing: &Listing,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Vec<T>>,
) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(io::stdout());
    let mut printer = Printer::new(listing.output, listing.watch == Watch::Events);
    let mut objects = ask().await?;
    if listing.watch == Watch::No {
        printer.print_list(&mut stdout, &objects)?;
        stdout.flush()?;
        if objects.is_empty() && printer.is_table() {
            writeln!(io::stderr(), "No {} found.", T::KIND)?;
        }
        return Ok(());
    }
    let mut changes = Changes::default();
    loop {
        printer.print_changes(&mut stdout, &changes.since_last(objects))?;
        stdout.flush()?;
        tokio::time::sleep(ROUND).await;
        objects = ask().await?;
    }
}
