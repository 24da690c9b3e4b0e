//! A crate is a house: its modules are rooms on floors, and a room imports only from the floors below it. A large room is
//! a house again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::imports::{imports, module_of};

#[derive(Debug)]
pub(super) struct House {
    /// The crate's sources, from the workspace's root.
    sources: &'static str,
    /// The module whose modules are the rooms; empty for the crate's root.
    within: &'static [&'static str],
    /// From the top down; rooms on one floor do not know each other. The first is `within` itself.
    floors: &'static [&'static [&'static str]],
}

pub(super) const HOUSES: &[House] = &[
    House {
        sources: "lb-agent/src",
        within: &[],
        floors: &[
            &["main"],
            &["cli"],
            &["commands"],
            &["agent", "connections", "check"],
            &["kernel"],
            &["tables", "duties"],
            &["source", "policy", "serve", "sockets", "privileges"],
            &["catalog"],
            &["counted", "metrics", "mountinfo", "route_changes"],
        ],
    },
    House {
        sources: "lb-agent/src",
        within: &["kernel"],
        floors: &[
            &["main"],
            &["data_path", "probe"],
            &["migrate", "packets"],
            &["pins"],
            &["maps"],
            &["bpf", "netfilter"],
            &["node"],
        ],
    },
    House {
        sources: "lb-ebpf/src",
        within: &[],
        floors: &[
            &["main"],
            &[
                "connect",
                "send",
                "reply",
                "release",
                "failure",
                "syn_timeout",
                "packet",
            ],
            &["guard", "outcome"],
            &["frontend", "affinity", "origin", "flow", "scope"],
            &["pick", "verdict"],
            &["outlier"],
            &["event", "service"],
            &["backend", "client", "config", "identity"],
            &["maps"],
            &["ctx", "atomic", "header"],
        ],
    },
];

impl House {
    /// Returns complaints about the files that are in this house.
    pub(super) fn check(&self, root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
        let sources = root.join(self.sources);
        let mut complaints = Vec::new();
        for file in files {
            let Ok(inside) = file.strip_prefix(&sources) else {
                continue;
            };
            let module = module_of(inside);
            if self.room(&module).is_none() {
                continue;
            }
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let name = format!("{}/{}", self.sources, inside.display());
            complaints.extend(self.complaints_about(&module, &name, &text));
        }
        Ok(complaints)
    }

    fn complaints_about(&self, module: &[String], name: &str, text: &str) -> Vec<String> {
        let Some(room) = self.room(module) else {
            return Vec::new();
        };
        let Some(floor) = self.floor(room) else {
            return vec![format!(
                "{name}: room `{room}` has no floor yet: give it one in xtask/src/tidy/floors.rs"
            )];
        };
        imports(text, module)
            .into_iter()
            .filter_map(|import| Some((import.line, self.room(&import.path)?.to_owned())))
            .filter(|(_, other)| other != room)
            .filter(|(_, other)| self.floor_of_item(other) <= floor)
            .map(|(line, other)| {
                format!("{name}:{line}: `{room}` uses `{other}`, which is not on a floor below it")
            })
            .collect()
    }

    /// Returns the room that contains a module or an item; none if it is not in this house.
    fn room<'m>(&self, module: &'m [String]) -> Option<&'m str> {
        if module.len() < self.within.len() || module.iter().zip(self.within).any(|(a, b)| a != b) {
            return None;
        }
        Some(module.get(self.within.len()).map_or("main", String::as_str))
    }

    fn floor(&self, room: &str) -> Option<usize> {
        self.floors.iter().position(|floor| floor.contains(&room))
    }

    /// An item outside of all rooms belongs to the house's root, on the top floor.
    fn floor_of_item(&self, name: &str) -> usize {
        self.floor(name).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: &[&[&str]] = &[&["main"], &["top"], &["left", "right"], &["cellar"]];

    const HOUSE: House = House {
        sources: "x/src",
        within: &[],
        floors: FLOORS,
    };

    const ROOM: House = House {
        within: &["room"],
        ..HOUSE
    };

    fn complaints(house: &House, file: &str, text: &str) -> usize {
        let module = module_of(Path::new(file));
        house.complaints_about(&module, "x", text).len()
    }

    #[test]
    fn imports_upwards_and_sideways_are_violations() {
        let complaints = |room: &str, text| complaints(&HOUSE, &format!("{room}.rs"), text);
        assert_eq!(
            complaints("top", "use crate::left::A;\nuse crate::cellar;"),
            0
        );
        assert_eq!(complaints("left", "use crate::left::inner;"), 0);
        assert_eq!(complaints("left", "use crate::right::A;"), 1);
        assert_eq!(complaints("cellar", "let a = crate::top::new();"), 1);
        assert_eq!(complaints("cellar", "use super::top;"), 1);
        assert_eq!(complaints("cellar", "use crate::AtTheRoot;"), 1);
        assert_eq!(complaints("main", "use crate::top::A;"), 0);
    }

    #[test]
    fn a_room_needs_a_floor() {
        assert_eq!(complaints(&HOUSE, "attic.rs", ""), 1);
    }

    #[test]
    fn a_room_can_have_floors_of_its_own() {
        let complaints = |file, text| complaints(&ROOM, file, text);
        assert_eq!(
            complaints("room/left/a.rs", "use crate::room::cellar::A;"),
            0
        );
        assert_eq!(
            complaints("room/left/a.rs", "use super::super::right::A;"),
            1
        );
        assert_eq!(
            complaints("room/left/a.rs", "use crate::room::ReExported;"),
            1
        );
        assert_eq!(complaints("room/left/a.rs", "use crate::other::A;"), 0);
        assert_eq!(complaints("room/mod.rs", "use self::top::A;"), 0);
        assert_eq!(complaints("room/attic.rs", ""), 1);
        assert_eq!(complaints("other/a.rs", "use crate::room::left::A;"), 0);
    }
}
