//! The least lengths of the maps. Elements in use keep their ids, so a shrunk table must have room for the highest.

use std::collections::BTreeSet;

use lb_common::view::is_own;
use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, SlotRun, View};

use super::layout::Layout;
use crate::kernel::maps::entries::SocketEntries;
use crate::kernel::maps::hash::{hash_at, io_error};
use crate::kernel::maps::lengths::Lengths;
use crate::kernel::maps::mapped::Mapped;
use crate::kernel::maps::sizes::Sizes;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::folder::Pins;
use crate::kernel::pins::table_set::TableSet;

/// The maps whose lengths follow from one flag.
struct Group {
    flag: &'static str,
    asked: fn(Sizes) -> u32,
    maps: &'static [&'static str],
}

const GROUPS: [Group; 2] = [
    Group {
        flag: "--max-services",
        asked: |sizes| sizes.services,
        maps: &["FRONTENDS", "FRONTEND_LIST", "VIEWS", "ROUNDS"],
    },
    Group {
        flag: "--max-endpoints",
        asked: |sizes| sizes.endpoints,
        maps: &["BACKENDS", "SLOTS"],
    },
];

/// The lengths that the flags ask for. A group of maps whose contents would not fit keeps its present lengths.
///
/// `present`: the lengths of the existing maps of the set.
pub fn lengths(
    pins: &Pins,
    set: &TableSet,
    layout: &Layout,
    present: &Lengths,
    asked: Sizes,
) -> Result<Lengths, KernelError> {
    let mut wanted = Lengths::of_new(asked);
    let mut needed = None;
    for group in GROUPS {
        let is_lowered = |name: &&str| present.of(name) > wanted.of(name);
        if !group.maps.iter().any(is_lowered) {
            continue;
        }
        let needed = match &needed {
            Some(needed) => needed,
            None => needed.insert(self::needed(pins, set, layout, present)?),
        };
        let Some(full) = group
            .maps
            .iter()
            .find(|name| needed.of(name) > wanted.of(name))
        else {
            continue;
        };
        let number = |lengths: &Lengths| lengths.of(full).unwrap_or_default();
        tracing::warn!(
            event = "migration.not_smaller",
            flag = group.flag,
            asked = (group.asked)(asked),
            table = full,
            capacity = number(present),
            wanted = number(&wanted),
            needed = number(needed),
            "tables keep their size, since the elements in use do not fit into smaller ones; the next start tries again",
        );
        for name in group.maps {
            if let Some(length) = present.of(name) {
                wanted.set(name, length);
            }
        }
    }
    Ok(wanted)
}

/// The least length of each map that has ids or cells in use.
fn needed(
    pins: &Pins,
    set: &TableSet,
    layout: &Layout,
    present: &Lengths,
) -> Result<Lengths, KernelError> {
    let mut highest = Highest::default();
    let at = |name: &str| set.folder.join(name);
    if present.of("FRONTENDS").is_some() {
        let path = at("FRONTENDS");
        let frontends = hash_at::<FrontendKey, FrontendValue>(&path)?;
        for element in frontends.iter() {
            let (key, value) = element
                .map_err(|error| KernelError::pin("read the pinned map", &path)(io_error(error)))?;
            highest.count_frontend(&key, &value);
        }
    }
    if present.of("FRONTEND_LIST").is_some() {
        let frontends = Mapped::at(&at("FRONTEND_LIST"), FrontendEntry::WORDS)?;
        for id in 1..frontends.length.min(highest.frontend.saturating_add(1)) {
            let words: [u64; FrontendEntry::WORDS] = frontends.element(id);
            let entry: FrontendEntry = bytemuck::must_cast(words);
            highest.views.insert(entry.outside_view);
        }
    }
    if let Some(length) = present.of("VIEWS") {
        let views = Mapped::at(&at("VIEWS"), View::WORDS)?;
        let mut runs = Vec::new();
        for &index in highest.views.iter().filter(|&&index| index < length) {
            runs.push(SlotRun::from_word(
                (layout.view)(views.element(index)).slots,
            ));
        }
        runs.into_iter().for_each(|run| highest.count_run(run));
    }
    if present.of("BACKENDS").is_some() {
        let backends = Mapped::at(&at("BACKENDS"), Backend::WORDS)?;
        for id in 0..backends.length {
            let line = (layout.backend)(backends.element(id));
            if line.state != 0 || line.active != 0 {
                highest.backend = id;
            }
        }
    }
    if let Some(entries) = SocketEntries::pinned(&pins.origins())? {
        entries
            .for_each(&mut |_, pair| highest.frontend = highest.frontend.max(pair.frontend))
            .map_err(KernelError::pin("read the entries in", &pins.origins()))?;
    }
    Ok(highest.lengths())
}

/// The highest ids in use, and the number of elements of tables without ids.
#[derive(Debug, Default)]
struct Highest {
    elements: u32,
    frontend: u32,
    views: BTreeSet<u32>,
    /// The end of the last run.
    cells: u32,
    backend: u32,
}

impl Highest {
    fn count_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) {
        self.elements = self.elements.saturating_add(1);
        // Elements without a protocol apply to the ports of an address that are no frontends.
        if key.protocol != 0
            && let Some(target) = value.read(key.tag())
        {
            self.frontend = self.frontend.max(target.frontend);
            self.views.insert(target.view);
        }
    }

    fn count_run(&mut self, run: SlotRun) {
        if run.length > 0 && !is_own(run.base) {
            self.cells = self.cells.max(run.base.saturating_add(run.cells()));
        }
    }

    fn lengths(&self) -> Lengths {
        let up_to = |id: u32| id.saturating_add(1);
        let views = self.views.last().map_or(0, |&view| up_to(view));
        [
            ("FRONTENDS", self.elements),
            ("FRONTEND_LIST", up_to(self.frontend)),
            ("VIEWS", views),
            ("SLOTS", self.cells),
            ("BACKENDS", up_to(self.backend)),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::view::banks;
    use lb_common::{Target, mapped};

    use super::*;

    #[test]
    fn the_highest_index_of_each_table_counts() {
        let mut highest = Highest::default();
        for (port, view, frontend) in [(1, 7, 3), (2, 4, 90), (3, 5, 2)] {
            let key = FrontendKey::new(mapped(1), port, 6);
            let target = Target {
                view,
                frontend,
                is_host_only: true,
                has_source_ranges: false,
            };
            highest.count_frontend(&key, &FrontendValue::new(&key, target));
        }
        // A guard names no view, and a value of another key counts for nothing.
        let guard = FrontendKey::new(mapped(1), 0, 0);
        let stray = FrontendKey::new(mapped(2), 1, 6);
        let target = Target {
            view: 1_000,
            frontend: 1_000,
            is_host_only: false,
            has_source_ranges: false,
        };
        highest.count_frontend(&guard, &FrontendValue::new(&guard, target));
        highest.count_frontend(&stray, &FrontendValue::new(&guard, target));
        for run in [(0, 5), (banks(7)[1], 4), (30, 3), (500, 0)] {
            let (base, length) = run;
            highest.count_run(SlotRun { base, length });
        }
        highest.backend = 11;
        let lengths = highest.lengths();
        assert_eq!(lengths.of("FRONTENDS"), Some(5));
        assert_eq!(lengths.of("FRONTEND_LIST"), Some(91));
        assert_eq!(lengths.of("VIEWS"), Some(8));
        assert_eq!(lengths.of("SLOTS"), Some(32));
        assert_eq!(lengths.of("BACKENDS"), Some(12));
        assert_eq!(lengths.of("ROUNDS"), None);
    }

    #[test]
    fn empty_tables_need_minimal_lengths() {
        let lengths = Highest::default().lengths();
        assert_eq!(lengths.of("VIEWS"), Some(0));
        assert_eq!(lengths.of("BACKENDS"), Some(1));
    }
}
