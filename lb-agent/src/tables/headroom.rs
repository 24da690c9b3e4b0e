//! How full the tables are, and which of the refused service ports may fit now.

use lb_common::view::BANK_SLOTS;

use super::backing::{ReadTables, Table, Usage};
use super::model::Model;
use super::plan::ApplyError;

/// What can still be given out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headroom {
    pub frontends: usize,
    pub views: usize,
    pub backends: usize,
    /// In cells of SLOTS.
    pub cells: usize,
    /// The most cells in one piece.
    pub longest: usize,
    /// How many more may be tried that may fit or not.
    pub chances: usize,
}

/// See [`Headroom::chances`].
const CHANCES: usize = 64;

impl Headroom {
    #[must_use]
    pub const fn left(&self, table: Table) -> usize {
        match table {
            Table::FrontendList => self.frontends,
            Table::Views => self.views,
            Table::Slots => self.cells,
            Table::Backends => self.backends,
            Table::Config => 0,
        }
    }

    /// Whether a refused service port may fit now. If so, its room is taken.
    pub fn take(&mut self, refused: &ApplyError) -> bool {
        let (room, needed) = match *refused {
            ApplyError::Full { table, needed, .. } => match table {
                Table::FrontendList => (&mut self.frontends, needed),
                Table::Views => (&mut self.views, needed),
                Table::Backends => (&mut self.backends, needed),
                Table::Slots if needed > self.longest => (&mut self.cells, usize::MAX),
                Table::Slots => (&mut self.cells, needed),
                Table::Config => (&mut self.chances, 1),
            },
            ApplyError::Frontends(_) => (&mut self.chances, 1),
        };
        if needed <= *room {
            *room -= needed;
            return true;
        }
        // A view whose own cells are quarantined has them back soon.
        let is_short = matches!(refused, ApplyError::Full { table: Table::Slots, needed, .. }
            if needed * 2 <= BANK_SLOTS as usize);
        if is_short && self.chances > 0 {
            self.chances -= 1;
            return true;
        }
        false
    }
}

/// How full the tables are in which the agent gives out elements.
#[must_use]
pub fn usage(backing: &impl ReadTables, model: &Model) -> [Usage; 5] {
    // Id 0 stands for none.
    let ids = |table: Table| {
        let capacity = (backing.length(table) as usize).saturating_sub(1);
        let used = capacity.saturating_sub(model.free.left(table));
        usage_of(table.name(), used, capacity)
    };
    let cells = backing.length(Table::Slots) as usize;
    let used_cells = cells.saturating_sub(model.free.left(Table::Slots));
    let elements = model.frontends.len() + model.guards.in_place.len();
    [
        usage_of("FRONTENDS", elements, backing.most_frontends() as usize),
        ids(Table::FrontendList),
        ids(Table::Views),
        usage_of(Table::Slots.name(), used_cells, cells),
        ids(Table::Backends),
    ]
}

/// What can still be given out.
#[must_use]
pub fn headroom(model: &Model) -> Headroom {
    Headroom {
        frontends: model.free.left(Table::FrontendList),
        views: model.free.left(Table::Views),
        backends: model.free.left(Table::Backends),
        cells: model.free.left(Table::Slots),
        longest: model.free.runs.longest() as usize,
        chances: CHANCES,
    }
}

const fn usage_of(table: &'static str, used: usize, capacity: usize) -> Usage {
    Usage {
        table,
        used,
        capacity,
    }
}
