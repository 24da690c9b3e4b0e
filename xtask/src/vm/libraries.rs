//! The shared libraries of a program, which the guest needs too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use object::LittleEndian;
use object::elf::DT_NEEDED;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};

use crate::arch::Arch;
use crate::process;

/// Of a program of this machine's architecture: where this machine has them.
pub(super) fn of_host(program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let libraries = process::output(Command::new("ldd").arg(program))
        .with_context(|| format!("cannot list the libraries of {}", program.display()))?;
    let paths = libraries.lines().filter_map(library);
    Ok(paths.map(|path| (path.into(), path.into())).collect())
}

/// Of another architecture's program, whose libraries are in the folder `root`, but have their usual paths in the guest.
pub(super) fn of_other(program: &Path, root: &Path, arch: Arch) -> Result<Vec<(PathBuf, PathBuf)>> {
    // The folders in which Debian's dynamic linker looks by itself.
    let folders = ["/lib", "/usr/lib"].map(Path::new);
    let folders = folders.map(|folder| [folder.join(arch.multiarch()), folder.to_owned()]);
    let folders = folders.as_flattened();
    let mut found = BTreeMap::new();
    let mut unread = vec![program.to_owned()];
    while let Some(file) = unread.pop() {
        let needs = Needs::of(&file)?;
        let linker = needs.linker.map(PathBuf::from);
        let libraries = needs.libraries.into_iter().map(|name| {
            let mut paths = folders.iter().map(|folder| folder.join(&name));
            let path = paths.find(|path| follow(root, path).is_file());
            path.with_context(|| {
                format!(
                    "{} needs {name}, which no unpacked package has",
                    file.display()
                )
            })
        });
        for path in linker.into_iter().map(Ok).chain(libraries) {
            let path = path?;
            let file = follow(root, &path);
            if found.insert(path, file.clone()).is_none() {
                unread.push(file);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The file at a path below `root`, after symbolic links, which are relative or begin at `root`.
pub(super) fn follow(root: &Path, path: &Path) -> PathBuf {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mut path = path.to_owned();
    // As many as the kernel follows (MAXSYMLINKS).
    for _ in 0..40 {
        let Ok(target) = fs::read_link(below(&path)) else {
            break;
        };
        path.pop();
        path.push(target);
    }
    below(&path)
}

/// What an ELF file names.
#[derive(Debug, Default)]
struct Needs {
    /// A path.
    linker: Option<String>,
    /// Names of files.
    libraries: Vec<String>,
}

impl Needs {
    fn of(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&bytes).with_context(|| format!("cannot read {}", file.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let elf = ElfFile64::<LittleEndian>::parse(bytes)?;
        let (endian, data) = (elf.endian(), elf.data());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut needs = Self::default();
        for header in elf.elf_header().program_headers(endian, data)? {
            if let Some(linker) = header.interpreter(endian, data)? {
                needs.linker = Some(text(linker));
            }
        }
        let sections = elf.elf_section_table();
        let Some((entries, strings)) = sections.dynamic(endian, data)? else {
            return Ok(needs);
        };
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries {
            if entry.tag(endian) == DT_NEEDED {
                needs.libraries.push(text(entry.string(endian, strings)?));
            }
        }
        Ok(needs)
    }
}

/// The path in a line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/x86_64/libc.so.6 (0x7f)"),
            Some("/lib/x86_64/libc.so.6")
        );
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x7f)"), None);
    }

    #[test]
    fn a_program_names_its_libraries() {
        let own = std::env::current_exe().expect("this test");
        let needs = Needs::of(&own).expect("an ELF file");
        assert!(
            needs
                .libraries
                .iter()
                .any(|name| name.starts_with("libc.so"))
        );
        assert!(needs.linker.is_some_and(|path| path.starts_with('/')));
    }

    #[test]
    fn links_stay_below_the_root() {
        let root = std::env::temp_dir().join(format!("socklb-links-{}", std::process::id()));
        fs::create_dir_all(root.join("sbin")).expect("writable");
        fs::create_dir_all(root.join("bin")).expect("writable");
        fs::write(root.join("bin/kmod"), "").expect("writable");
        symlink("/bin/kmod", root.join("sbin/modprobe")).expect("writable");
        symlink("modprobe", root.join("sbin/lsmod")).expect("writable");
        let found = ["/sbin/modprobe", "/sbin/lsmod"].map(|path| follow(&root, Path::new(path)));
        fs::remove_dir_all(&root).expect("it is ours");
        assert_eq!(found, [root.join("bin/kmod"), root.join("bin/kmod")]);
    }
}
