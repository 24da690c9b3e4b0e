//! Our table, as it should be and as it is.

use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;

use lb_common::verdict::BACKEND_MASK;

use super::counters::Counters;
use super::element::Family;
use super::error::NetfilterError;
use super::found;
use super::found::{FoundTable, is_interrupted};
use super::part::Part;
use super::present::Present;
use super::repair::{Comparison, Repair};
use super::ruleset::Ruleset;
use super::socket::{ATTEMPTS, Netlink, Refusal};

/// A repair and what it leaves are compared; another program may undo it at once.
const REPAIRS: u32 = 3;

/// One transaction has up to this many elements: about a megabyte.
const ELEMENTS: usize = 20_000;

/// The table `inet socklb`. It stays when this value is dropped.
#[derive(Debug)]
pub struct Netfilter {
    netlink: Netlink,
    ruleset: Ruleset,
    present: Present,
    /// Not yet returned by [`Self::check`], since something failed after it.
    repaired: Repaired,
}

/// What was not as it should be, and is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The parts that differed; empty if all was in place.
    pub parts: Vec<Part>,
    /// The maps were made anew, and not all of their elements could be kept: put all of them again.
    pub has_lost_elements: bool,
}

impl Netfilter {
    /// Makes the table in the calling thread's network namespace, or repairs it as [`Self::check`] does. The elements of an
    /// earlier agent's table stay, even if it had another capacity.
    ///
    /// # Errors
    /// The kernel has no nf_tables or none of its parts that the rules need, it does not allow it, or the table is another
    /// program's.
    pub fn open(ruleset: Ruleset) -> Result<(Self, Repaired), NetfilterError> {
        let mut netlink = Netlink::open().map_err(NetfilterError::opening)?;
        found::generation(&mut netlink).map_err(NetfilterError::opening)?;
        let mut netfilter = Self {
            netlink,
            ruleset,
            present: Present::default(),
            repaired: Repaired::default(),
        };
        let repaired = netfilter.check()?;
        netfilter.elements()?;
        Ok((netfilter, repaired))
    }

    /// The netlink port by which [`super::Watch`] tells our changes from those of others.
    pub(super) const fn port(&self) -> u32 {
        self.netlink.port()
    }

    /// Compares the table, its chains, rules and the shapes of its maps with what they should be, and repairs what differs in
    /// one transaction. Elements are not compared: see [`Self::elements`]. Sets, maps and objects that another program added
    /// stay, since nothing of ours refers to them.
    ///
    /// A table of this name without our comment is another program's, unless it is empty or exactly as ours.
    ///
    /// # Errors
    /// As for [`Self::open`]. What was repaired nevertheless is part of the next result.
    pub fn check(&mut self) -> Result<Repaired, NetfilterError> {
        let mut repairs = 0;
        for _ in 0..ATTEMPTS {
            let generation =
                found::generation(&mut self.netlink).map_err(NetfilterError::reading)?;
            let found = match found::table(&mut self.netlink) {
                Err(error) if is_interrupted(&error) => continue,
                found => found.map_err(NetfilterError::reading)?,
            };
            let comparison = Comparison::new(&self.ruleset, found.as_ref());
            if let Some(found) = &found {
                refuse_foreign(found, &comparison)?;
            }
            if comparison.repair == Repair::Nothing {
                return Ok(mem::take(&mut self.repaired));
            }
            if repairs == REPAIRS {
                return Err(NetfilterError::Unlike(comparison.parts));
            }
            match self.repair(&comparison, generation) {
                Ok(has_lost_elements) => {
                    repairs += 1;
                    self.repaired.has_lost_elements |= has_lost_elements;
                    for part in comparison.parts {
                        if !self.repaired.parts.contains(&part) {
                            self.repaired.parts.push(part);
                        }
                    }
                }
                Err(refusal) if refusal.error.raw_os_error() == Some(libc::ERESTART) => {}
                Err(refusal) if is_interrupted(&refusal.error) => {}
                Err(refusal) => return Err(NetfilterError::writing(refusal.part, refusal.error)),
            }
        }
        Err(NetfilterError::Busy(ATTEMPTS))
    }

    /// Returns whether elements were lost.
    fn repair(&mut self, comparison: &Comparison, generation: u32) -> Result<bool, Refusal> {
        let mut kept = [Vec::new(), Vec::new()];
        let mut has_lost = comparison.repair == Repair::Create;
        if comparison.repair == Repair::Recreate {
            for (family, kept) in Family::ALL.into_iter().zip(&mut kept) {
                let listed = found::elements(&mut self.netlink, family, |id, address| {
                    if Family::of(address) == family {
                        kept.push((id, address));
                    }
                });
                match listed {
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => has_lost = true,
                    listed => listed.map_err(|error| Refusal {
                        part: Part::Elements,
                        error,
                    })?,
                }
                has_lost |= kept.len() > self.ruleset.capacity as usize;
                kept.truncate(self.ruleset.capacity as usize);
            }
        }
        let mut batch = self.netlink.batch(Some(generation));
        comparison.write(&mut batch);
        for (family, kept) in Family::ALL.into_iter().zip(&kept) {
            batch.add_elements(family, kept);
        }
        self.netlink.commit(batch)?;
        if matches!(comparison.repair, Repair::Create | Repair::Recreate) {
            self.present = Present::default();
            for (family, kept) in Family::ALL.into_iter().zip(&kept) {
                for (id, _) in kept {
                    self.present.insert(family, *id);
                }
            }
        }
        Ok(has_lost)
    }

    /// Stores elements, in one transaction for each 20,000. An id has one address, of either family: the new one takes
    /// the place of an earlier one without a moment between them.
    ///
    /// # Errors
    /// The table is gone or full. The transactions before the failed one have taken effect.
    pub fn put(&mut self, elements: &[(u32, SocketAddr)]) -> Result<(), NetfilterError> {
        if let Some((id, _)) = elements.iter().find(|(id, _)| id & !BACKEND_MASK != 0) {
            return Err(NetfilterError::Id(*id));
        }
        let canonical = elements.iter().map(|(id, address)| {
            let ip = address.ip().to_canonical();
            (*id, SocketAddr::new(ip, address.port()))
        });
        let by_id: BTreeMap<u32, SocketAddr> = canonical.collect();
        let by_id: Vec<(u32, SocketAddr)> = by_id.into_iter().collect();
        for chunk in by_id.chunks(ELEMENTS) {
            let of = |family| {
                let elements = chunk.iter().copied();
                elements.filter(move |(_, address)| Family::of(*address) == family)
            };
            let added = Family::ALL.map(|family| of(family).collect());
            let ids: Vec<u32> = chunk.iter().map(|(id, _)| *id).collect();
            self.replace(&ids, &added)?;
        }
        Ok(())
    }

    /// Removes elements. Missing ones, and a missing table, are no error.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn remove(&mut self, ids: &[u32]) -> Result<(), NetfilterError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for chunk in ids.chunks(ELEMENTS) {
            match self.replace(chunk, &[Vec::new(), Vec::new()]) {
                Ok(()) | Err(NetfilterError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the elements of some ids, and adds others for each family, in one transaction.
    fn replace(
        &mut self,
        ids: &[u32],
        added: &[Vec<(u32, SocketAddr)>; 2],
    ) -> Result<(), NetfilterError> {
        for _ in 0..ATTEMPTS {
            let removed = Family::ALL.map(|family| {
                let present = ids.iter().copied();
                let present = present.filter(|id| self.present.has(family, *id));
                present.collect::<Vec<u32>>()
            });
            if removed.iter().all(Vec::is_empty) && added.iter().all(Vec::is_empty) {
                return Ok(());
            }
            let mut batch = self.netlink.batch(None);
            for (family, removed) in Family::ALL.into_iter().zip(&removed) {
                batch.delete_elements(family, removed);
            }
            for (family, added) in Family::ALL.into_iter().zip(added) {
                batch.add_elements(family, added);
            }
            match self.netlink.commit(batch) {
                Ok(()) => {
                    self.note(&removed, added);
                    return Ok(());
                }
                // Another program added or removed elements.
                Err(refusal)
                    if matches!(
                        refusal.error.raw_os_error(),
                        Some(libc::ENOENT | libc::EEXIST | libc::EBUSY)
                    ) =>
                {
                    self.elements()?;
                }
                Err(refusal) => return Err(NetfilterError::writing(refusal.part, refusal.error)),
            }
        }
        Err(NetfilterError::Busy(ATTEMPTS))
    }

    fn note(&mut self, removed: &[Vec<u32>; 2], added: &[Vec<(u32, SocketAddr)>; 2]) {
        for (family, (removed, added)) in Family::ALL.into_iter().zip(removed.iter().zip(added)) {
            for id in removed {
                self.present.remove(family, *id);
            }
            for (id, _) in added {
                self.present.insert(family, *id);
            }
        }
    }

    /// The elements of both maps, in no order. An id is there twice if another program added one.
    ///
    /// # Errors
    /// The table is gone, or other programs change it again and again.
    pub fn elements(&mut self) -> Result<Vec<(u32, SocketAddr)>, NetfilterError> {
        let (elements, present) = read_elements(&mut self.netlink)?;
        self.present = present;
        Ok(elements)
    }

    /// Takes over which elements there are from a reading of another thread ([`elements`]), since which nothing was written here: those
    /// of other programs can then be removed.
    pub fn saw(&mut self, elements: &[(u32, SocketAddr)]) {
        self.present = Present::default();
        for (id, address) in elements {
            self.present.insert(Family::of(*address), *id);
        }
    }

    /// What the rules have counted.
    ///
    /// # Errors
    /// The kernel does not list the rules.
    pub fn counters(&mut self) -> Result<Counters, NetfilterError> {
        for _ in 0..ATTEMPTS {
            match found::chains(&mut self.netlink) {
                Err(error) if is_interrupted(&error) => {}
                found => {
                    let found = found.map_err(NetfilterError::reading)?;
                    return Ok(Counters::of(&self.ruleset.chains(), &found));
                }
            }
        }
        Err(NetfilterError::Busy(ATTEMPTS))
    }
}

/// The elements of both maps, read through a socket of its own: for other threads, since the kernel takes about a microsecond for
/// each element.
///
/// # Errors
/// As for [`Netfilter::elements`].
pub fn elements() -> Result<Vec<(u32, SocketAddr)>, NetfilterError> {
    let mut netlink = Netlink::open().map_err(NetfilterError::opening)?;
    let (elements, _) = read_elements(&mut netlink)?;
    Ok(elements)
}

/// The elements, and which ids are among them.
fn read_elements(
    netlink: &mut Netlink,
) -> Result<(Vec<(u32, SocketAddr)>, Present), NetfilterError> {
    for _ in 0..ATTEMPTS {
        let mut elements = Vec::new();
        let mut present = Present::default();
        let listed = Family::ALL.into_iter().try_for_each(|family| {
            found::elements(netlink, family, |id, address| {
                elements.push((id, address));
                present.insert(family, id);
            })
        });
        match listed {
            Ok(()) => return Ok((elements, present)),
            Err(error) if is_interrupted(&error) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Err(NetfilterError::Gone);
            }
            Err(error) => return Err(NetfilterError::reading(error)),
        }
    }
    Err(NetfilterError::Busy(ATTEMPTS))
}

fn refuse_foreign(found: &FoundTable, comparison: &Comparison) -> Result<(), NetfilterError> {
    if let Some(owner) = found.owner {
        return Err(NetfilterError::Owned(owner));
    }
    let is_empty = found.chains.is_empty() && found.maps.is_empty();
    if found.is_marked || is_empty || comparison.repair == Repair::Nothing {
        return Ok(());
    }
    let chains = found.chains.iter().map(|chain| &chain.name);
    let maps = found.maps.iter().map(|map| &map.name);
    Err(NetfilterError::Foreign {
        chains: chains
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
        maps: maps
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
    })
}
