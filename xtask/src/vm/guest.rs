//! The guest's initramfs, with the tests, the programs that they run, and the libraries of both.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cpio::newc::{self, Builder};

use super::kernel::KernelPackage;
use super::programs::Programs;
use super::test_binaries::TestBinaries;
use crate::cross::Compiler;
use crate::process;

/// Modules of Debian's kernels that the tests need, without the modules that these depend on.
const MODULES: [&str; 24] = [
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "mptcp_diag",
    // Links to machines outside, and classifiers.
    "tun",
    "8021q",
    "bonding",
    "sch_ingress",
    "cls_bpf",
    "cls_u32",
    // Translation of addresses.
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_objref",
    "nft_redir",
    "nft_reject_inet",
    "nf_conntrack_netlink",
];

/// Files of /etc for the lookup of names and ports.
const ETC: [(&str, &str); 6] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("nsswitch.conf", "hosts: files dns\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("resolv.conf", ""),
    ("protocols", "tcp 6 TCP\nudp 17 UDP\n"),
];

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// The guest's first process.
const INIT: &str = include_str!("init.sh");
/// Paths that [`INIT`] uses: the modules to load and the arguments of the test binary, one a line, and the test binary.
const MODULE_LIST: &str = "/etc/modules";
/// A file, since a kernel's command line has at most 32 words for init (`MAX_INIT_ARGS`).
const ARGUMENT_LIST: &str = "/etc/arguments";
const TEST_LINK: &str = "/test";

/// A file of the guest.
enum TreeEntry {
    Folder,
    /// A copy of the host's file.
    Copy(PathBuf),
    Text(String),
    Link(String),
}

/// What a guest is made of.
pub(crate) struct Content<'a> {
    pub(crate) image: &'a KernelPackage,
    pub(crate) programs: &'a Programs,
    pub(crate) binaries: &'a TestBinaries,
    /// Of the test binary, which the guest calls.
    pub(crate) args: &'a [OsString],
}

/// Writes the archive; returns its path.
pub(crate) fn initramfs(
    folder: &Path,
    compiler: &Compiler,
    content: &Content<'_>,
) -> Result<PathBuf> {
    let Content {
        image,
        programs,
        binaries,
        args,
    } = *content;
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "tmp", "run", "root", "var/lib/misc"] {
        tree.add(&Path::new("/").join(folder), TreeEntry::Folder);
    }
    for (name, file) in programs.files()? {
        tree.add_program(&Path::new("/bin").join(name), &file, programs)?;
    }
    // The kernel's own path, for modules that it loads by itself.
    tree.add(
        Path::new("/sbin/modprobe"),
        TreeEntry::Link("/bin/modprobe".to_owned()),
    );
    for binary in [&binaries.test, &binaries.agent, &binaries.next_agent] {
        let stripped = strip(folder, compiler, binary)?;
        tree.add_program(binary, &stripped, programs)?;
    }
    let test = binaries.test.display().to_string();
    tree.add(Path::new(TEST_LINK), TreeEntry::Link(test));
    for (name, text) in ETC {
        tree.add(
            &Path::new("/etc").join(name),
            TreeEntry::Text(text.to_owned()),
        );
    }
    tree.add(
        Path::new(MODULE_LIST),
        TreeEntry::Text(MODULES.join("\n") + "\n"),
    );
    let mut arguments = String::new();
    for arg in args {
        let arg = arg.to_str().filter(|arg| !arg.contains('\n'));
        let arg = arg.context("a guest's arguments are lines of text")?;
        arguments.push_str(arg);
        arguments.push('\n');
    }
    tree.add(Path::new(ARGUMENT_LIST), TreeEntry::Text(arguments));
    tree.add(Path::new("/init"), TreeEntry::Text(INIT.to_owned()));
    tree.add_modules(image)?;
    let path = folder.join("initramfs.cpio");
    tree.write(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Removes debugging information, which is most of a test binary.
fn strip(folder: &Path, compiler: &Compiler, binary: &Path) -> Result<PathBuf> {
    // Two binaries have the same name, in different folders.
    let parts = binary.iter().rev().take(2).collect::<Vec<_>>();
    let stripped = folder.join(parts.join(OsStr::new("-of-")));
    let mut command = Command::new(compiler.tool("strip"));
    command
        .arg("--strip-debug")
        .arg("-o")
        .arg(&stripped)
        .arg(binary);
    process::run(&mut command)?;
    Ok(stripped)
}

#[derive(Default)]
struct Tree(BTreeMap<PathBuf, TreeEntry>);

impl Tree {
    fn add(&mut self, path: &Path, entry: TreeEntry) {
        for folder in path.ancestors().skip(1) {
            self.0.entry(folder.to_owned()).or_insert(TreeEntry::Folder);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// A program with the shared libraries that it is linked with.
    fn add_program(&mut self, path: &Path, file: &Path, programs: &Programs) -> Result<()> {
        self.add(path, TreeEntry::Copy(file.to_owned()));
        let libraries = programs.libraries(file)?;
        for (path, file) in libraries {
            self.add(&path, TreeEntry::Copy(file));
        }
        Ok(())
    }

    /// [`MODULES`] with the modules that they depend on, and the index of all modules.
    fn add_modules(&mut self, image: &KernelPackage) -> Result<()> {
        let modules = image.modules();
        let in_guest = Path::new("/lib/modules").join(&image.release);
        for file in fs::read_dir(&modules)
            .context("the kernel's modules")?
            .flatten()
        {
            if file.path().is_file() {
                self.add(
                    &in_guest.join(file.file_name()),
                    TreeEntry::Copy(file.path()),
                );
            }
        }
        let index = fs::read_to_string(modules.join("modules.dep")).context("modules.dep")?;
        for module in MODULES {
            let Some(files) = index.lines().find_map(|line| files_of(line, module)) else {
                continue;
            };
            for file in files {
                self.add(&in_guest.join(file), TreeEntry::Copy(modules.join(file)));
            }
        }
        Ok(())
    }

    fn write(self, path: &Path) -> io::Result<()> {
        let mut archive = BufWriter::new(File::create(path)?);
        for (path, entry) in self.0 {
            let name = path.display().to_string();
            let name = name.trim_start_matches('/');
            if name.is_empty() {
                continue;
            }
            match entry {
                TreeEntry::Folder => append(&mut archive, name, DIRECTORY, Cursor::new(""))?,
                TreeEntry::Copy(file) => append(&mut archive, name, EXECUTABLE, File::open(file)?)?,
                TreeEntry::Text(text) => append(&mut archive, name, EXECUTABLE, Cursor::new(text))?,
                TreeEntry::Link(to) => append(&mut archive, name, SYMLINK, Cursor::new(to))?,
            }
        }
        newc::trailer(&mut archive)?;
        io::Write::flush(&mut archive)
    }
}

fn append(
    archive: &mut BufWriter<File>,
    name: &str,
    mode: u32,
    mut content: impl Read + Seek,
) -> io::Result<()> {
    let size = content.seek(io::SeekFrom::End(0))?;
    content.rewind()?;
    let size = u32::try_from(size).map_err(io::Error::other)?;
    let mut file = Builder::new(name).mode(mode).write(archive, size);
    io::copy(&mut content, &mut file)?;
    file.finish()?;
    Ok(())
}

/// The files in a line of modules.dep, `kernel/net/veth.ko: kernel/…`, if it is this module's.
fn files_of<'a>(line: &'a str, module: &str) -> Option<Vec<&'a str>> {
    let (file, needs) = line.split_once(':')?;
    let name = file.rsplit('/').next()?.split('.').next()?;
    (name == module).then(|| {
        std::iter::once(file)
            .chain(needs.split_whitespace())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_includes_its_dependencies() {
        let line =
            "kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz";
        let files = [
            "kernel/net/bridge/bridge.ko.xz",
            "kernel/net/802/stp.ko.xz",
            "kernel/net/llc/llc.ko.xz",
        ];
        assert_eq!(files_of(line, "bridge").as_deref(), Some(files.as_slice()));
        assert_eq!(files_of(line, "stp"), None);
    }
}
