//! What can be given out: ids of frontends, views and backends, and runs of cells.

use lb_common::SlotRun;

use super::super::backing::Table;
use super::extents::Extents;
use super::ids::Ids;
use super::quarantine::Item;

#[derive(Debug)]
pub struct Free {
    pub frontends: Ids,
    pub views: Ids,
    pub backends: Ids,
    pub runs: Extents,
}

impl Free {
    pub fn release(&mut self, item: Item) {
        match item {
            Item::Run { base, cells } => self.runs.release(base, cells),
            Item::View(index) => self.views.release(index),
            Item::Backend(id) => self.backends.release(id),
            Item::Frontend(id) => self.frontends.release(id),
        }
    }

    /// A run of so many slots: the view's own cells if they are few, else cells of SLOTS. None: no extent is long enough.
    pub fn take_run(&mut self, view: u32, slots: u32) -> Option<SlotRun> {
        let mut run = SlotRun {
            base: 0,
            length: slots,
        };
        if slots > 0 {
            run.base = self
                .runs
                .take_own(view, slots)
                .or_else(|| self.runs.take(run.cells()))?;
        }
        Some(run)
    }

    /// How much of a table is left: ids, or cells of SLOTS in one piece or not.
    #[must_use]
    pub fn left(&self, table: Table) -> usize {
        match table {
            Table::FrontendList => self.frontends.left(),
            Table::Views => self.views.left(),
            Table::Slots => usize::try_from(self.runs.left()).unwrap_or(usize::MAX),
            Table::Backends => self.backends.left(),
            Table::Config => 0,
        }
    }
}

impl Item {
    /// A run as an item; none for one without cells.
    #[must_use]
    pub fn run(run: SlotRun) -> Option<Self> {
        let cells = run.cells();
        (cells > 0).then_some(Self::Run {
            base: run.base,
            cells,
        })
    }
}
