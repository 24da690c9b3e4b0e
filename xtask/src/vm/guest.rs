//! The guest's initramfs, with the tests, the programs that they run, and this machine's libraries.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cpio::newc::{self, Builder};

use super::kernel::KernelPackage;
use super::test_binaries::TestBinaries;
use crate::process;

/// Programs that the tests and the guest's init run.
const PROGRAMS: [&str; 15] = [
    "sh", "mount", "umount", "mkdir", "ln", "sleep", "modprobe", "ip", "ss", "getent", "dnsmasq",
    "adnshost", "cat", "nft", "tc",
];

/// Modules of Debian's kernels that the tests need, without the modules that these depend on.
const MODULES: [&str; 23] = [
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

/// Writes the archive; returns its path. The guest calls the test binary with `args`.
pub(crate) fn initramfs(
    folder: &Path,
    image: &KernelPackage,
    binaries: &TestBinaries,
    args: &[OsString],
) -> Result<PathBuf> {
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "tmp", "run", "root", "var/lib/misc"] {
        tree.add(&Path::new("/").join(folder), TreeEntry::Folder);
    }
    for program in PROGRAMS {
        let file = process::program(program)?;
        tree.add_program(&Path::new("/bin").join(program), &file)?;
    }
    // The kernel's own path, for modules that it loads by itself.
    tree.add(
        Path::new("/sbin/modprobe"),
        TreeEntry::Link("/bin/modprobe".to_owned()),
    );
    for binary in [&binaries.test, &binaries.agent, &binaries.next_agent] {
        let stripped = strip(folder, binary)?;
        tree.add_program(binary, &stripped)?;
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
fn strip(folder: &Path, binary: &Path) -> Result<PathBuf> {
    // Two binaries have the same name, in different folders.
    let parts = binary.iter().rev().take(2).collect::<Vec<_>>();
    let stripped = folder.join(parts.join(OsStr::new("-of-")));
    let mut command = Command::new("strip");
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
    fn add_program(&mut self, path: &Path, file: &Path) -> Result<()> {
        self.add(path, TreeEntry::Copy(file.to_owned()));
        let libraries = process::output(Command::new("ldd").arg(file))
            .with_context(|| format!("cannot list the libraries of {}", file.display()))?;
        for library in libraries.lines().filter_map(library) {
            self.add(Path::new(library), TreeEntry::Copy(library.into()));
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

/// The path in a line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
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
