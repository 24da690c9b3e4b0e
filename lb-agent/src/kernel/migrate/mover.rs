//! Moves hooks from the pinned tables to tables that fit.

use std::io;

use aya::Ebpf;
use aya::maps::MapData;
use lb_common::TABLES_VERSION;

use super::layout::{Layout, OURS};
use super::{copy, in_use, settle, versions};
use crate::kernel::bpf::crash_points::end_at;
use crate::kernel::bpf::grace::Grace;
use crate::kernel::bpf::hooks::{self, HookState};
use crate::kernel::bpf::loader::{self, Programs, chain};
use crate::kernel::maps::backing::Maps;
use crate::kernel::maps::clients::{self, ClientMap, Clients, StartClients};
use crate::kernel::maps::footprint;
use crate::kernel::maps::hash::io_error;
use crate::kernel::maps::lengths::Lengths;
use crate::kernel::maps::shapes::{self, MapKind, Shape, Subfolder};
use crate::kernel::maps::sizes::Sizes;
use crate::kernel::node::cgroup::Cgroup;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::folder::Pins;
use crate::kernel::pins::sets;
use crate::kernel::pins::table_set::TableSet;

/// A data path in place.
#[derive(Debug)]
pub struct InPlace {
    pub object: Ebpf,
    pub maps: Maps,
    pub clients: ClientMap,
    pub hooks: Vec<HookState>,
    /// The lengths of all maps.
    pub lengths: Lengths,
}

/// Puts the data path in place, on tables that continue the pinned ones.
pub fn put_into_place(
    pins: &Pins,
    sizes: Sizes,
    programs: Programs,
    clients: &StartClients,
    cgroup: &Cgroup,
    grace: &Grace,
) -> Result<InPlace, KernelError> {
    let mover = Mover {
        pins,
        sizes,
        programs,
        clients,
        cgroup,
        grace,
    };
    let mut sets = sets::found(pins)?;
    if let Some(begun) = sets.pop_if(|last| last.is_next && last.version == TABLES_VERSION) {
        tracing::info!(
            event = "migration.resumed",
            path = %begun.folder.display(),
            "continuing to move the hooks to the new tables of an earlier agent",
        );
        let present = pins.lengths(&begun)?;
        let object = mover.load(&begun, &present)?;
        let in_place = mover.attach(&begun, object, present)?;
        let set = mover.finish(sets, begun)?;
        let wanted = mover.wanted(&set, &OURS, &in_place.lengths)?;
        if fits(&in_place.lengths, &wanted) {
            return Ok(in_place);
        }
        sets = vec![set];
    }
    mover.go_on_from(sets)
}

/// Whether the existing maps have these lengths.
fn fits(present: &Lengths, wanted: &Lengths) -> bool {
    differences(present, wanted).next().is_none()
}

/// The tables whose length is not the wanted one, with both lengths.
fn differences(
    present: &Lengths,
    wanted: &Lengths,
) -> impl Iterator<Item = (&'static str, u32, u32)> {
    let tables = wanted
        .shapes()
        .filter(|shape| shape.subfolder == Subfolder::Tables);
    tables.filter_map(|shape| {
        let length = present.of(shape.name)?;
        (length != shape.length).then_some((shape.name, length, shape.length))
    })
}

struct Mover<'a> {
    pins: &'a Pins,
    sizes: Sizes,
    programs: Programs,
    clients: &'a StartClients,
    cgroup: &'a Cgroup,
    grace: &'a Grace,
}

impl Mover<'_> {
    /// `sets`: the existing sets, of which the last one is the source; empty: there are no tables yet.
    fn go_on_from(&self, sets: Vec<TableSet>) -> Result<InPlace, KernelError> {
        let ours = TableSet::ours(self.pins.folder());
        let Some(source) = sets.last() else {
            ours.make()?;
            return self.put(&ours, Lengths::of_new(self.sizes));
        };
        let layout = self.layout(source)?;
        let present = self.pins.lengths(source)?;
        let wanted = self.wanted(source, layout, &present)?;
        if *source == ours && fits(&present, &wanted) {
            source.tidy()?;
            return self.put(source, wanted);
        }
        log_start(source, &present, &wanted);
        let next = TableSet::next(self.pins.folder());
        let object = match self.fill(source, layout, &present, &next, &wanted) {
            Ok(object) => object,
            Err(error) => {
                // The unfinished tables take memory and are of no use.
                if let Err(error) = next.remove() {
                    tracing::warn!(
                        event = "migration.clean_up_failed",
                        %error,
                        "cannot remove all of the unfinished tables",
                    );
                }
                if *source != ours {
                    return Err(error);
                }
                tracing::error!(
                    event = "migration.failed",
                    %error,
                    "cannot resize the tables: they keep their sizes",
                );
                return self.put(source, present);
            }
        };
        end_at("filled");
        let in_place = self.attach(&next, object, wanted)?;
        self.finish(sets, next)?;
        Ok(in_place)
    }

    fn wanted(
        &self,
        source: &TableSet,
        layout: &Layout,
        present: &Lengths,
    ) -> Result<Lengths, KernelError> {
        in_use::lengths(self.pins, source, layout, present, self.sizes)
    }

    fn layout(&self, set: &TableSet) -> Result<&'static Layout, KernelError> {
        versions::of(set.version).ok_or_else(|| KernelError::Older {
            path: set.folder.clone(),
            pin_dir: self.pins.folder().to_owned(),
            found: set.version,
        })
    }

    /// Loads programs on a set and attaches them. No hook uses another set, so none has to be moved.
    fn put(&self, set: &TableSet, lengths: Lengths) -> Result<InPlace, KernelError> {
        let object = self.load(set, &lengths)?;
        self.attach(set, object, lengths)
    }

    fn load(&self, set: &TableSet, lengths: &Lengths) -> Result<Ebpf, KernelError> {
        let shapes: Vec<Shape> = lengths.shapes().collect();
        let pins = self.pins.map_pins(set, &shapes)?;
        let memory = footprint::bytes(shapes.into_iter(), footprint::Machine::this());
        loader::load(&pins, memory, self.programs)
    }

    /// Makes the next set, with the whole contents of its source.
    fn fill(
        &self,
        source: &TableSet,
        layout: &Layout,
        present: &Lengths,
        next: &TableSet,
        wanted: &Lengths,
    ) -> Result<Ebpf, KernelError> {
        next.make()?;
        let mut copied = Vec::new();
        for shape in wanted
            .shapes()
            .filter(|shape| shape.subfolder == Subfolder::Tables)
        {
            let Some(length) = present.of(shape.name) else {
                continue;
            };
            if length != shape.length || layout.differs.contains(&shape.name) {
                copied.push(shape.name);
                continue;
            }
            let pin = self.pins.map_of(source, &shape);
            let map = MapData::from_pin(&pin)
                .map_err(|error| KernelError::pin("open the pinned map", &pin)(io_error(error)))?;
            let new_pin = self.pins.map_of(next, &shape);
            map.pin(&new_pin).map_err(|error| {
                KernelError::pin("pin the map", &new_pin)(io::Error::other(chain(&error)))
            })?;
        }
        let object = self.load(next, wanted)?;
        for name in copied {
            copy::copy(name, layout, source, next)?;
        }
        Ok(object)
    }

    /// Attaches the programs. Once one is attached, its set counts as the tables.
    fn attach(
        &self,
        set: &TableSet,
        mut object: Ebpf,
        lengths: Lengths,
    ) -> Result<InPlace, KernelError> {
        if set.is_next {
            set.pin_programs(&mut object)?;
        }
        let maps = Maps::take(&mut object)?;
        let mut clients = ClientMap::take(&mut object)?;
        let failed = KernelError::map("write", clients::NAME);
        if let StartClients::Replaced(wanted) = self.clients {
            clients.replace(wanted).map_err(&failed)?;
        }
        let hooks = hooks::put_into_place(&mut object, &self.pins.links(), self.cgroup)?;
        if let StartClients::Off = self.clients {
            clients.replace(&Clients::new()).map_err(&failed)?;
        }
        Ok(InPlace {
            object,
            maps,
            clients,
            hooks,
            lengths,
        })
    }

    /// All hooks use the next set now: transfers what the programs did in the old sets until then, and removes the old
    /// sets.
    fn finish(&self, old: Vec<TableSet>, next: TableSet) -> Result<TableSet, KernelError> {
        end_at("moved");
        // Wait for the end of the old sets' programs.
        self.grace.wait()?;
        // Each set was copied from the one before it.
        let sets: Vec<&TableSet> = old.iter().chain([&next]).collect();
        for pair in sets.windows(2) {
            if let &[from, to] = pair
                && let (Some(of_from), Some(of_to)) =
                    (versions::of(from.version), versions::of(to.version))
            {
                settle::settle((from, of_from), (to, of_to))?;
            }
        }
        for set in &old {
            if let Some(layout) = versions::of(set.version) {
                self.catch_up(layout, set, &next)?;
            }
        }
        end_at("settled");
        for set in old {
            set.remove()?;
        }
        end_at("removed");
        let set = next.promote(self.pins.folder())?;
        end_at("renamed");
        set.tidy()?;
        tracing::info!(
            event = "migration.finished",
            "the hooks use the new tables, and the old ones are removed",
        );
        Ok(set)
    }

    fn catch_up(&self, layout: &Layout, from: &TableSet, to: &TableSet) -> Result<(), KernelError> {
        for shape in shapes::all(self.sizes).filter(|shape| shape.kind == MapKind::LruHash) {
            let id = |set| {
                let info = self.pins.existing(&self.pins.map_of(set, &shape));
                info.map(|info| info.map(|info| info.id()))
            };
            if let (Some(old), Some(new)) = (id(from)?, id(to)?)
                && old != new
            {
                copy::again(shape.name, layout, from, to)?;
            }
        }
        Ok(())
    }
}

fn log_start(source: &TableSet, present: &Lengths, wanted: &Lengths) {
    let mut what: Vec<String> = differences(present, wanted)
        .map(|(name, now, then)| format!("{name} {now} → {then}"))
        .collect();
    if source.version != TABLES_VERSION {
        let (from, to) = (source.version, TABLES_VERSION);
        what.push(format!("layouts of version {from} → {to}"));
    }
    tracing::info!(
        event = "migration.started",
        path = %source.folder.display(),
        changes = what.join(", "),
        "moving the hooks to new tables without a gap",
    );
}
