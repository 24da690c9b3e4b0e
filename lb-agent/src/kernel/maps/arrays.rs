//! The tables that are arrays, mapped into our memory.

use std::sync::Arc;

use lb_common::{Backend, FrontendEntry, View};

use super::mapped::Mapped;
use crate::kernel::node::error::KernelError;
use crate::tables::Table;

#[derive(Debug)]
pub struct Arrays {
    frontend_list: Mapped,
    views: Mapped,
    slots: Mapped,
    /// Shared with readers on other threads.
    pub backends: Arc<Mapped>,
    config: Mapped,
}

impl Arrays {
    /// `open`: opens the array with this name, whose elements have so many words.
    pub fn open(
        mut open: impl FnMut(&'static str, usize) -> Result<Mapped, KernelError>,
    ) -> Result<Self, KernelError> {
        let mut array = |table: Table, width| open(table.name(), width);
        Ok(Self {
            frontend_list: array(Table::FrontendList, FrontendEntry::WORDS)?,
            views: array(Table::Views, View::WORDS)?,
            slots: array(Table::Slots, 1)?,
            backends: Arc::new(array(Table::Backends, Backend::WORDS)?),
            config: array(Table::Config, 1)?,
        })
    }

    pub fn get(&self, table: Table) -> &Mapped {
        match table {
            Table::FrontendList => &self.frontend_list,
            Table::Views => &self.views,
            Table::Slots => &self.slots,
            Table::Backends => &self.backends,
            Table::Config => &self.config,
        }
    }
}
