//! Takes over what is pinned, whatever its sizes and as long as its layouts can be read, without a gap.
//!
//! Where it fits, programs are swapped and that is all. Where it does not, a new set of tables is filled from the old one
//! (`copy`), the hooks are moved to it one by one, and then what was counted in the old one meanwhile is added (`settle`).
//! Maps that neither have another length nor another layout are in both sets, so nothing of them is copied. ORIGINS is always
//! the same: a socket may be remembered by an old program and released by a new one.
//!
//! An agent may be killed at any point of this. Until the first hook is moved, the next one begins anew; from then on it
//! goes on, whatever its own sizes are, and looks at those after that. While hooks use two sets, `active` of neither is whole,
//! so least-conn may choose badly: for some milliseconds, or until the next agent.

mod copy;
mod in_use;
mod layout;
mod settle;
#[cfg(feature = "next-layout")]
mod v1;

use std::io;

use aya::Ebpf;
use aya::maps::MapData;
use lb_common::TABLES_VERSION;

use self::layout::Layout;
use super::hooks::{self, HookState};
use super::pins::{Pins, failed};
use super::sets::{self, TableSet};
use super::shapes::{self, Kind, Room, Shape};
use super::sizes::Lengths;
use super::{Cgroup, Grace, KernelError, Maps, Settings, object, steps};

/// A data path that is in place.
#[derive(Debug)]
pub struct InPlace {
    pub object: Ebpf,
    pub maps: Maps,
    pub hooks: Vec<HookState>,
    /// Of all maps.
    pub lengths: Lengths,
}

/// Puts the data path into place, on tables that go on from what is pinned.
pub fn put_into_place(
    pins: &Pins,
    settings: &Settings,
    cgroup: &Cgroup,
    grace: &Grace,
) -> Result<InPlace, KernelError> {
    let mover = Mover {
        pins,
        settings,
        cgroup,
        grace,
    };
    let mut sets = sets::found(pins)?;
    if let Some(begun) = sets.pop_if(|last| last.is_next && last.version == TABLES_VERSION) {
        tracing::info!("going on with moving the hooks to new tables, during which an agent ended");
        let present = begun.lengths(pins)?;
        let object = mover.load(&begun, &present)?;
        let in_place = mover.attach(&begun, object, present)?;
        let set = mover.finish(sets, begun)?;
        let wanted = mover.wanted(&set, &layout::OURS, &in_place.lengths)?;
        if fits(&in_place.lengths, &wanted) {
            return Ok(in_place);
        }
        sets = vec![set];
    }
    mover.go_on_from(sets)
}

/// Whether the maps that there are have these lengths.
fn fits(present: &Lengths, wanted: &Lengths) -> bool {
    differences(present, wanted).next().is_none()
}

/// The tables that have another length than they are to have, and both.
fn differences(
    present: &Lengths,
    wanted: &Lengths,
) -> impl Iterator<Item = (&'static str, u32, u32)> {
    let tables = wanted.shapes().filter(|shape| shape.room == Room::Tables);
    tables.filter_map(|shape| {
        let length = present.of(shape.name)?;
        (length != shape.length).then_some((shape.name, length, shape.length))
    })
}

struct Mover<'a> {
    pins: &'a Pins,
    settings: &'a Settings,
    cgroup: &'a Cgroup,
    grace: &'a Grace,
}

impl Mover<'_> {
    /// `sets`: where the tables are now, the last one being the one to go on from; none: nowhere yet.
    fn go_on_from(&self, sets: Vec<TableSet>) -> Result<InPlace, KernelError> {
        let ours = TableSet::ours(self.pins.folder());
        let Some(source) = sets.last() else {
            ours.make()?;
            return self.put(&ours, self.settings.sizes.lengths());
        };
        let layout = self.layout(source)?;
        let present = source.lengths(self.pins)?;
        let wanted = self.wanted(source, layout, &present)?;
        if *source == ours && fits(&present, &wanted) {
            source.tidy()?;
            return self.put(source, wanted);
        }
        tell(source, &present, &wanted);
        let next = TableSet::next(self.pins.folder());
        let object = match self.fill(source, layout, &present, &next, &wanted) {
            Ok(object) => object,
            Err(error) => {
                // What was begun takes memory and is of no use.
                if let Err(error) = next.remove() {
                    tracing::warn!("what was begun is not wholly gone: {error}");
                }
                if *source != ours {
                    return Err(error);
                }
                tracing::error!("the tables keep their sizes: {error}");
                return self.put(source, present);
            }
        };
        steps::at("filled");
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
        in_use::lengths(self.pins, source, layout, present, self.settings.sizes)
    }

    fn layout(&self, set: &TableSet) -> Result<&'static Layout, KernelError> {
        layout::of(set.version).ok_or_else(|| KernelError::Older {
            path: set.folder.clone(),
            pin_dir: self.pins.folder().to_owned(),
            found: set.version,
        })
    }

    /// Programs on a set that all hooks are to use and nobody has to be moved to.
    fn put(&self, set: &TableSet, lengths: Lengths) -> Result<InPlace, KernelError> {
        let object = self.load(set, &lengths)?;
        self.attach(set, object, lengths)
    }

    fn load(&self, set: &TableSet, lengths: &Lengths) -> Result<Ebpf, KernelError> {
        let shapes: Vec<Shape> = lengths.shapes().collect();
        object::load(self.pins, set, &shapes, self.settings.program_log)
    }

    /// Makes the next set, with all that its source says.
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
        for shape in wanted.shapes().filter(|shape| shape.room == Room::Tables) {
            let Some(length) = present.of(shape.name) else {
                continue;
            };
            if length != shape.length || layout.differs.contains(&shape.name) {
                copied.push(shape.name);
                continue;
            }
            let pin = self.pins.map_of(source, &shape);
            let map = MapData::from_pin(&pin);
            let map = map.map_err(|error| failed(&pin, io::Error::other(error)))?;
            map.pin(self.pins.map_of(next, &shape))
                .map_err(|error| failed(&pin, io::Error::other(error)))?;
        }
        let object = self.load(next, wanted)?;
        for name in copied {
            copy::copy(name, layout, source, next)?;
        }
        Ok(object)
    }

    /// Puts the programs into the hooks; once one is there, the set that it uses is what the tables are.
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
        let hooks = hooks::put_into_place(&mut object, self.pins, self.cgroup)?;
        Ok(InPlace {
            object,
            maps,
            hooks,
            lengths,
        })
    }

    /// All hooks use the next set now: adds what the programs did in the old ones until then, and takes these away.
    fn finish(&self, old: Vec<TableSet>, next: TableSet) -> Result<TableSet, KernelError> {
        steps::at("moved");
        // The old sets' programs end.
        self.grace.wait()?;
        // Each was copied from the one before it.
        let sets: Vec<&TableSet> = old.iter().chain([&next]).collect();
        for pair in sets.windows(2) {
            if let &[from, to] = pair
                && let (Some(of_from), Some(of_to)) =
                    (layout::of(from.version), layout::of(to.version))
            {
                settle::settle((from, of_from), (to, of_to))?;
            }
        }
        for set in &old {
            if let Some(layout) = layout::of(set.version) {
                self.catch_up(layout, set, &next)?;
            }
        }
        steps::at("settled");
        for set in old {
            set.remove()?;
        }
        steps::at("removed");
        let set = next.promote(self.pins)?;
        steps::at("renamed");
        set.tidy()?;
        tracing::info!("the hooks use the new tables, and the old ones are gone");
        Ok(set)
    }

    fn catch_up(&self, layout: &Layout, from: &TableSet, to: &TableSet) -> Result<(), KernelError> {
        for shape in shapes::all(self.settings.sizes).filter(|shape| shape.kind == Kind::LruHash) {
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

fn tell(source: &TableSet, present: &Lengths, wanted: &Lengths) {
    let mut what: Vec<String> = differences(present, wanted)
        .map(|(name, now, then)| format!("{name} {now} → {then}"))
        .collect();
    if source.version != TABLES_VERSION {
        let (from, to) = (source.version, TABLES_VERSION);
        what.push(format!("layouts of version {from} → {to}"));
    }
    let what = what.join(", ");
    let folder = source.folder.display();
    tracing::info!("{folder} becomes a new set of tables, without a gap: {what}");
}
