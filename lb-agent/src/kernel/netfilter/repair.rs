//! Compares our table with what it should be, and says what makes it so.

use std::ffi::CString;

use netlink_bindings::nftables::SetFlags;

use super::batch::Batch;
use super::element::Family;
use super::found::{ChainShape, FoundChain, FoundMap, FoundTable};
use super::map_shape::MapShape;
use super::part::Part;
use super::ruleset::{Chain, Ruleset};

/// NF_ACCEPT.
const ACCEPT: u32 = 1;

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    Nothing,
    /// There is no table.
    Create,
    /// The table or a map has another shape, and none of these can change in place.
    Recreate,
    /// Only chains differ; the maps stay.
    Chains {
        /// Chains that are not ours or have another shape.
        remove: Vec<CString>,
        /// Chains whose rules differ.
        empty: Vec<CString>,
        /// Chains that are to be made, or made again.
        add: Vec<Chain>,
        /// Chains that then have no rules and get ours.
        fill: Vec<Chain>,
    },
}

/// What the table should be, and the difference.
#[derive(Debug)]
pub struct Comparison {
    chains: Vec<Chain>,
    maps: [MapShape; 2],
    pub repair: Repair,
    /// What differs.
    pub parts: Vec<Part>,
}

impl Comparison {
    pub fn new(ruleset: &Ruleset, found: Option<&FoundTable>) -> Self {
        let chains = ruleset.chains();
        let maps = Family::ALL.map(|family| MapShape::of(family, ruleset.capacity));
        let (repair, parts) = match found {
            None => (Repair::Create, vec![Part::Table]),
            Some(found) => compare(found, &chains, &maps),
        };
        Self {
            chains,
            maps,
            repair,
            parts,
        }
    }

    /// Writes the repair, except for elements.
    pub fn write(&self, batch: &mut Batch) {
        match &self.repair {
            Repair::Nothing => {}
            Repair::Create => self.create(batch),
            Repair::Recreate => {
                batch.delete_table();
                self.create(batch);
            }
            Repair::Chains {
                remove,
                empty,
                add,
                fill,
            } => {
                // A chain that another one jumps to cannot be removed, so all rules go first.
                for name in remove.iter().chain(empty) {
                    batch.delete_rules(name);
                }
                for name in remove {
                    batch.delete_chain(name);
                }
                for chain in add {
                    batch.add_chain(chain);
                }
                for chain in fill {
                    batch.add_rules(chain);
                }
            }
        }
    }

    fn create(&self, batch: &mut Batch) {
        batch.add_table();
        for map in &self.maps {
            batch.add_map(map);
        }
        for chain in &self.chains {
            batch.add_chain(chain);
            batch.add_rules(chain);
        }
    }
}

fn compare(found: &FoundTable, chains: &[Chain], maps: &[MapShape]) -> (Repair, Vec<Part>) {
    let mut parts = Vec::new();
    if found.flags != 0 {
        parts.push(Part::Table);
    }
    for map in maps {
        if !found.maps.iter().any(|found| has_shape(found, map)) {
            parts.push(Part::Map(map.name.to_string_lossy().into_owned()));
        }
    }
    let must_recreate = !parts.is_empty();
    let mut remove: Vec<CString> = Vec::new();
    let mut empty = Vec::new();
    let mut add = Vec::new();
    let mut fill = Vec::new();
    for chain in chains {
        let found = found.chains.iter().find(|found| *found.name == *chain.name);
        match found {
            Some(found) if !is_shape(found, chain) => {
                remove.push(found.name.clone());
                add.push(chain.clone());
            }
            Some(found) if !has_rules(found, chain) => empty.push(found.name.clone()),
            Some(_) => continue,
            None => add.push(chain.clone()),
        }
        fill.push(chain.clone());
        parts.push(Part::Chain(chain.name.to_string_lossy().into_owned()));
    }
    for found in &found.chains {
        if !chains.iter().any(|chain| *chain.name == *found.name) {
            remove.push(found.name.clone());
            parts.push(Part::Chain(found.name.to_string_lossy().into_owned()));
        }
    }
    let repair = match (must_recreate, parts.is_empty()) {
        (true, _) => Repair::Recreate,
        (false, true) => Repair::Nothing,
        (false, false) => Repair::Chains {
            remove,
            empty,
            add,
            fill,
        },
    };
    (repair, parts)
}

fn has_shape(found: &FoundMap, map: &MapShape) -> bool {
    let wanted = FoundMap {
        name: map.name.to_owned(),
        flags: SetFlags::Map as u32,
        key_length: MapShape::KEY_LENGTH,
        data_type: map.data_type,
        data_length: map.data_length,
        size: map.size,
    };
    *found == wanted
}

fn is_shape(found: &FoundChain, chain: &Chain) -> bool {
    let wanted = ChainShape {
        kind: chain.kind.to_owned(),
        hook: chain.hook,
        priority: chain.priority,
        policy: ACCEPT,
    };
    found.shape.as_ref() == Some(&wanted)
}

pub fn has_rules(found: &FoundChain, chain: &Chain) -> bool {
    let found = found.rules.iter().map(|rule| rule.expressions.as_ref());
    found.eq(chain.rules.iter().map(|rule| Some(&rule.expressions)))
}
