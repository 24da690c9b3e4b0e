//! A crate is a house: its modules are rooms on floors, and a room imports only from the floors below it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct House {
    /// The crate's sources, from the workspace's root.
    sources: &'static str,
    /// From the top down; rooms on one floor do not know each other. The first is the crate's root.
    floors: &'static [&'static [&'static str]],
}

pub(super) const HOUSES: &[House] = &[
    House {
        sources: "lb-agent/src",
        floors: &[
            &["main"],
            &["cli"],
            &["commands"],
            &["kernel"],
            &["tables"],
            &["source", "policy", "serve", "sockets", "privileges"],
            &["catalog"],
        ],
    },
    House {
        sources: "lb-ebpf/src",
        floors: &[
            &["main"],
            &["send"],
            &["translate", "reply", "release"],
            &["frontend", "affinity", "origin", "flow", "scope"],
            &["pick"],
            &["identity"],
            &["maps", "ctx", "atomic"],
        ],
    },
];

impl House {
    /// Complaints about those of the files that are in this house.
    pub(super) fn check(&self, root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
        let sources = root.join(self.sources);
        let mut complaints = Vec::new();
        for file in files {
            let Ok(inside) = file.strip_prefix(&sources) else {
                continue;
            };
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let name = format!("{}/{}", self.sources, inside.display());
            complaints.extend(self.complaints_about(&room_of(inside), &name, &text));
        }
        Ok(complaints)
    }

    fn complaints_about(&self, room: &str, name: &str, text: &str) -> Vec<String> {
        let Some(floor) = self.floor(room) else {
            return vec![format!(
                "{name}: room `{room}` has no floor yet: give it one in xtask/src/tidy/floors.rs"
            )];
        };
        imports(text)
            .into_iter()
            .filter(|(_, other)| other != room)
            .filter(|(_, other)| self.floor_of_item(other) <= floor)
            .map(|(line, other)| {
                format!("{name}:{line}: `{room}` uses `crate::{other}`, which is not on a floor below it")
            })
            .collect()
    }

    fn floor(&self, room: &str) -> Option<usize> {
        self.floors.iter().position(|floor| floor.contains(&room))
    }

    /// What is not a room is an item of the crate's root, on the top floor.
    fn floor_of_item(&self, name: &str) -> usize {
        self.floor(name).unwrap_or(0)
    }
}

/// The room that a file belongs to: its folder, or its own name.
fn room_of(inside: &Path) -> String {
    let first = inside.iter().next().map(Path::new);
    let room = first.and_then(Path::file_stem).unwrap_or_default();
    match room.to_string_lossy().as_ref() {
        "lib" => "main".to_owned(),
        room => room.to_owned(),
    }
}

/// Line and name of what follows each `crate::`, also inside braces; comments aside.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (place, mark) in code.match_indices("crate::") {
        let before = code[..place].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
            continue;
        }
        let line = code[..place].matches('\n').count() + 1;
        let rest = code[place + mark.len()..].trim_start();
        found.extend(first_names(rest).into_iter().map(|name| (line, name)));
    }
    found
}

/// `a::b` gives a; `{a::{b, c}, d}` gives a and d.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let mut depth = 1;
    let mut names = vec![identifier(group)];
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(identifier(&group[place + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn identifier(text: &str) -> String {
    let text = text.trim_start();
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: House = House {
        sources: "x/src",
        floors: &[&["main"], &["top"], &["left", "right"], &["cellar"]],
    };

    fn complaints(room: &str, text: &str) -> usize {
        HOUSE.complaints_about(room, "x", text).len()
    }

    #[test]
    fn down_is_allowed_and_up_or_sideways_is_not() {
        assert_eq!(
            complaints("top", "use crate::left::A;\nuse crate::cellar;"),
            0
        );
        assert_eq!(complaints("left", "use crate::left::inner;"), 0);
        assert_eq!(complaints("left", "use crate::right::A;"), 1);
        assert_eq!(complaints("cellar", "let a = crate::top::new();"), 1);
        assert_eq!(complaints("cellar", "use crate::AtTheRoot;"), 1);
        assert_eq!(complaints("main", "use crate::top::A;"), 0);
    }

    #[test]
    fn a_room_needs_a_floor() {
        assert_eq!(complaints("attic", ""), 1);
    }

    #[test]
    fn sees_groups_and_skips_comments() {
        let text =
            "/// [`crate::top`]\nuse crate::{\n    cellar::{A, B}, // crate::top\n    right,\n};\n";
        assert_eq!(
            imports(text),
            [(2, "cellar".to_owned()), (2, "right".to_owned())]
        );
        assert_eq!(imports("$crate::x; lb_crate::y"), []);
    }

    #[test]
    fn a_folder_and_its_file_are_one_room() {
        assert_eq!(room_of(Path::new("tables.rs")), "tables");
        assert_eq!(room_of(Path::new("tables/plan.rs")), "tables");
        assert_eq!(room_of(Path::new("lib.rs")), "main");
    }
}
