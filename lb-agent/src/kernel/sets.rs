//! The sets of tables in the pin folder, and which of them the hooks use.
//!
//! `tables-v1` is the set that an agent works with, named after the version of its layouts. `tables-v1-next` is one that is
//! being filled from another, or that hooks were being moved to when the agent ended. The programs that are to use it are
//! pinned beside its maps, so that the links say whether any hook does: a program's id is asked of the kernel by its link.
//! (Which maps a program uses, it tells only to those with CAP_SYS_ADMIN, for a program that nobody has pinned.)

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::ProgramInfo;
use lb_common::{ORIGINS_VERSION, TABLES_VERSION};

use super::pins::{Pins, failed, list, make};
use super::sizes::{Lengths, Sizes};
use super::{KernelError, object, shapes, sys};

/// What the folder's name of a set begins with, before the version.
pub const TABLES: &str = "tables-v";
/// The same of ORIGINS and what belongs to it.
pub const ORIGINS: &str = "origins-v";
/// What the name of a program's pin begins with.
pub const PROGRAM: &str = "program_";
/// The pin of what was copied into a set ([`super::migrate`]).
pub const COPIED: &str = "COPIED";

const NEXT: &str = "-next";

/// The folder of a set of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSet {
    pub folder: PathBuf,
    pub version: u32,
    /// Being made, or being moved to.
    pub is_next: bool,
}

impl TableSet {
    /// The set that an agent of this version works with.
    pub fn ours(folder: &Path) -> Self {
        Self {
            folder: folder.join(format!("{TABLES}{TABLES_VERSION}")),
            version: TABLES_VERSION,
            is_next: false,
        }
    }

    /// The one that it makes from another.
    pub fn next(folder: &Path) -> Self {
        Self {
            folder: folder.join(format!("{TABLES}{TABLES_VERSION}{NEXT}")),
            is_next: true,
            ..Self::ours(folder)
        }
    }

    /// None for a folder of another kind.
    fn at(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix(TABLES)?;
        let (version, is_next) = match name.strip_suffix(NEXT) {
            Some(version) => (version, true),
            None => (name, false),
        };
        Some(Self {
            version: version.parse().ok()?,
            is_next,
            folder: path,
        })
    }

    pub fn make(&self) -> Result<(), KernelError> {
        make(&self.folder)
    }

    /// The lengths of those of its maps that are there, which must be such maps.
    pub fn lengths(&self, pins: &Pins) -> Result<Lengths, KernelError> {
        let mut lengths = Vec::new();
        for shape in shapes::all(Sizes::default()) {
            let path = pins.map_of(self, &shape);
            if let Some(info) = pins.existing(&path)? {
                object::check(&shape, &info, &path, pins)?;
                lengths.push((shape.name, info.max_entries()));
            }
        }
        Ok(lengths.into_iter().collect())
    }

    /// Pins the programs beside the maps that they use.
    pub fn pin_programs(&self, object: &mut Ebpf) -> Result<(), KernelError> {
        for (name, program) in object.programs_mut() {
            let refused = |error: &dyn std::error::Error| KernelError::Program {
                program: name.to_owned(),
                reason: object::chain(error),
            };
            let id = program.info().map_err(|error| refused(&error))?.id();
            let pin = self.folder.join(format!("{PROGRAM}{name}_{id}"));
            program.pin(pin).map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    /// The ids of the programs that are pinned here.
    fn programs(&self) -> Result<Vec<u32>, KernelError> {
        let is_program = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(PROGRAM)
        };
        let pins = list(&self.folder)?.into_iter().filter(is_program);
        pins.map(|pin| match ProgramInfo::from_pin(&pin) {
            Ok(info) => Ok(info.id()),
            Err(error) => Err(failed(&pin, io::Error::other(error))),
        })
        .collect()
    }

    /// Takes its pins and its folder away.
    pub fn remove(&self) -> Result<(), KernelError> {
        for pin in list(&self.folder)? {
            fs::remove_file(&pin).map_err(|error| failed(&pin, error))?;
        }
        fs::remove_dir(&self.folder).map_err(|error| failed(&self.folder, error))
    }

    /// Gives the set that all hooks use now the name of the one that an agent works with. There must be none other.
    pub fn promote(self, pins: &Pins) -> Result<Self, KernelError> {
        let ours = Self::ours(pins.folder());
        match fs::remove_dir(&ours.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&ours.folder, error));
            }
            _ => {}
        }
        fs::rename(&self.folder, &ours.folder).map_err(|error| failed(&self.folder, error))?;
        Ok(ours)
    }

    /// Takes away what is only of use while hooks are being moved to it.
    pub fn tidy(&self) -> Result<(), KernelError> {
        for pin in list(&self.folder)? {
            let name = pin.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PROGRAM) || name == COPIED {
                fs::remove_file(&pin).map_err(|error| failed(&pin, error))?;
            }
        }
        Ok(())
    }
}

/// The sets that are there, each filled from the one before it; the last one goes on. One that was begun and that no hook
/// has come to yet is taken away.
///
/// Errors: a newer agent made one of them.
pub fn found(pins: &Pins) -> Result<Vec<TableSet>, KernelError> {
    let mut sets = Vec::new();
    for set in list(pins.folder())?.into_iter().filter_map(TableSet::at) {
        if list(&set.folder)?.is_empty() {
            fs::remove_dir(&set.folder).map_err(|error| failed(&set.folder, error))?;
        } else {
            sets.push(set);
        }
    }
    sets.sort_by_key(|set| (set.is_next, set.version));
    let hooks = programs_in_hooks(pins)?;
    let mut begun = Vec::new();
    // Of one that hooks have come to, what it was filled from still counts. And one whose source is gone has all that there is.
    while sets.len() > 1
        && let Some(set) = sets.pop_if(|set| set.is_next)
    {
        if set.programs()?.iter().any(|id| hooks.contains(id)) {
            sets.push(set);
            break;
        }
        begun.push(set);
    }
    for set in &sets {
        refuse_newer(&set.folder, pins.folder(), set.version, TABLES_VERSION)?;
    }
    for set in begun {
        tracing::info!(
            "{}: begun by an agent that ended meanwhile, and not in use; begun anew if need be",
            set.folder.display()
        );
        set.remove()?;
    }
    Ok(sets)
}

/// The ids of the programs in the pinned links.
fn programs_in_hooks(pins: &Pins) -> Result<Vec<u32>, KernelError> {
    list(&pins.links())?
        .iter()
        .map(|pin| {
            sys::object_at(pin)
                .and_then(|link| Ok(sys::link_info(link.as_fd())?.program))
                .map_err(|error| failed(pin, error))
        })
        .collect()
}

/// ORIGINS of a newer version, with something in its folder, is not for us.
pub fn refuse_newer_origins(folder: &Path) -> Result<(), KernelError> {
    for room in list(folder)? {
        let name = room.file_name().unwrap_or_default().to_string_lossy();
        let version = name.strip_prefix(ORIGINS).and_then(|v| v.parse().ok());
        if let Some(version) = version
            && !list(&room)?.is_empty()
        {
            refuse_newer(&room, folder, version, ORIGINS_VERSION)?;
        }
    }
    Ok(())
}

fn refuse_newer(path: &Path, pin_dir: &Path, found: u32, known: u32) -> Result<(), KernelError> {
    if found <= known {
        return Ok(());
    }
    Err(KernelError::Newer {
        path: path.to_owned(),
        pin_dir: pin_dir.to_owned(),
        found,
        known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_says_what_it_has() {
        let at = |name: &str| TableSet::at(Path::new("/pins").join(name));
        let set = |name: &str, version, is_next| TableSet {
            folder: Path::new("/pins").join(name),
            version,
            is_next,
        };
        assert_eq!(at("tables-v7"), Some(set("tables-v7", 7, false)));
        assert_eq!(at("tables-v7-next"), Some(set("tables-v7-next", 7, true)));
        for other in [
            "links",
            "origins-v1",
            "tables-v",
            "tables-vx",
            "tables-v1-last",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
        for own in [TableSet::ours, TableSet::next] {
            let own = own(Path::new("/pins"));
            assert_eq!(TableSet::at(own.folder.clone()), Some(own));
        }
    }
}
