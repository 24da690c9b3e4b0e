//! How full the tables are, and what of that which did not fit may fit now.

use lb_common::view::BANK_SLOTS;

use super::{ApplyError, Backing, Table, Tables};

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The map's name.
    pub table: &'static str,
    /// Elements; what rests before it is used again counts.
    pub used: usize,
    pub capacity: usize,
}

impl Usage {
    /// Whether more than so many percent are in use.
    #[must_use]
    pub const fn is_above(&self, percent: usize) -> bool {
        self.used.saturating_mul(100) > self.capacity.saturating_mul(percent)
    }
}

/// What can still be given out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    pub frontends: usize,
    pub views: usize,
    pub backends: usize,
    /// In cells of SLOTS.
    pub cells: usize,
    /// The most cells in one piece.
    pub longest: usize,
    /// How many of those may be tried of which nobody can tell whether they fit.
    pub chances: usize,
}

/// See [`Room::chances`].
const CHANCES: usize = 64;

impl Room {
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

    /// Whether what was refused may fit now; then its room is taken.
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
        // A view whose own cells rest has them back soon.
        let is_short = matches!(refused, ApplyError::Full { table: Table::Slots, needed, .. }
            if needed * 2 <= BANK_SLOTS as usize);
        if is_short && self.chances > 0 {
            self.chances -= 1;
            return true;
        }
        false
    }
}

impl<B: Backing> Tables<B> {
    /// How full those tables are in which the agent gives out elements.
    #[must_use]
    pub fn usage(&self) -> [Usage; 5] {
        let room = self.room();
        // Id 0 stands for none.
        let ids = |table: Table, left: usize| {
            let capacity = (self.backing.length(table) as usize).saturating_sub(1);
            usage(table.name(), capacity.saturating_sub(left), capacity)
        };
        let cells = self.backing.length(Table::Slots) as usize;
        let elements = self.frontends.len() + self.guards.in_place.len();
        [
            usage(
                "FRONTENDS",
                elements,
                self.backing.most_frontends() as usize,
            ),
            ids(Table::FrontendList, room.frontends),
            ids(Table::Views, room.views),
            usage(Table::Slots.name(), cells.saturating_sub(room.cells), cells),
            ids(Table::Backends, room.backends),
        ]
    }

    /// What can still be given out.
    #[must_use]
    pub fn room(&self) -> Room {
        Room {
            frontends: self.frontend_ids.left(),
            views: self.view_indexes.left(),
            backends: self.backend_ids.left(),
            cells: usize::try_from(self.runs.left()).unwrap_or(usize::MAX),
            longest: self.runs.longest() as usize,
            chances: CHANCES,
        }
    }
}

const fn usage(table: &'static str, used: usize, capacity: usize) -> Usage {
    Usage {
        table,
        used,
        capacity,
    }
}
