//! The folder of a set of tables: its name and its pins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::ProgramInfo;
use lb_common::{ORIGINS_VERSION, TABLES_VERSION};

use super::folders::{list, make, remove_empty, remove_pin};
use crate::kernel::bpf::loader::chain;
use crate::kernel::node::error::KernelError;

/// The beginning of the name of a set's folder, before the version.
pub const TABLES: &str = "tables-v";
/// The same for the folder of ORIGINS and its companion maps.
pub const ORIGINS: &str = "origins-v";
/// The beginning of the name of a program's pin.
pub const PROGRAM: &str = "program_";
/// The pin of the counters that were copied into a set ([`crate::kernel::migrate`]).
pub const COPIED: &str = "COPIED";

const NEXT: &str = "-next";

/// The folder of a set of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSet {
    pub folder: PathBuf,
    pub version: u32,
    /// The set is being made, or the hooks are being moved to it.
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

    /// The set that an agent of this version fills from another.
    pub fn next(folder: &Path) -> Self {
        Self {
            folder: folder.join(format!("{TABLES}{TABLES_VERSION}{NEXT}")),
            is_next: true,
            ..Self::ours(folder)
        }
    }

    /// None for any other folder.
    pub fn at(path: PathBuf) -> Option<Self> {
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

    /// Pins the programs beside the maps that they use.
    pub fn pin_programs(&self, object: &mut Ebpf) -> Result<(), KernelError> {
        for (name, program) in object.programs_mut() {
            // Without the packet path, its program is not loaded.
            if program.fd().is_err() {
                continue;
            }
            let info = program.info().map_err(|error| KernelError::Program {
                program: name.to_owned(),
                reason: chain(&error),
            })?;
            let pin = self.folder.join(format!("{PROGRAM}{name}_{}", info.id()));
            program.pin(&pin).map_err(|error| {
                KernelError::pin("pin the program", &pin)(io::Error::other(chain(&error)))
            })?;
        }
        Ok(())
    }

    /// The ids of the programs that are pinned in this folder.
    pub fn programs(&self) -> Result<Vec<u32>, KernelError> {
        let is_program = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(PROGRAM)
        };
        let pins = list(&self.folder)?.into_iter().filter(is_program);
        pins.map(|pin| match ProgramInfo::from_pin(&pin) {
            Ok(info) => Ok(info.id()),
            Err(error) => {
                let failed = KernelError::pin("open the pinned program", &pin);
                Err(failed(io::Error::other(chain(&error))))
            }
        })
        .collect()
    }

    /// Removes the pins and the folder.
    pub fn remove(&self) -> Result<(), KernelError> {
        for pin in list(&self.folder)? {
            remove_pin(&pin)?;
        }
        remove_empty(&self.folder)
    }

    /// Renames a set that all hooks use to the name that an agent works with. No other set may exist.
    pub fn promote(self, pin_dir: &Path) -> Result<Self, KernelError> {
        let ours = Self::ours(pin_dir);
        match fs::remove_dir(&ours.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(KernelError::pin("remove the folder", &ours.folder)(error));
            }
            _ => {}
        }
        fs::rename(&self.folder, &ours.folder)
            .map_err(KernelError::pin("rename the folder", &self.folder))?;
        Ok(ours)
    }

    /// Removes the pins that only serve while hooks are being moved to the set.
    pub fn tidy(&self) -> Result<(), KernelError> {
        for pin in list(&self.folder)? {
            let name = pin.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PROGRAM) || name == COPIED {
                remove_pin(&pin)?;
            }
        }
        Ok(())
    }
}

/// Fails if a folder with ORIGINS of a newer version is not empty.
pub fn refuse_newer_origins(folder: &Path) -> Result<(), KernelError> {
    for subfolder in list(folder)? {
        let name = subfolder.file_name().unwrap_or_default().to_string_lossy();
        let version = name.strip_prefix(ORIGINS).and_then(|v| v.parse().ok());
        if let Some(version) = version
            && !list(&subfolder)?.is_empty()
        {
            refuse_newer(&subfolder, folder, version, ORIGINS_VERSION)?;
        }
    }
    Ok(())
}

pub fn refuse_newer(
    path: &Path,
    pin_dir: &Path,
    found: u32,
    known: u32,
) -> Result<(), KernelError> {
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
    fn a_folder_name_gives_the_version_and_next() {
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
