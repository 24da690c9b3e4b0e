//! Debian's packages of this machine's architecture or of another one, to be unpacked: nothing is installed, and no script of a package runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{apt, linker, process};

/// The packages that apt knows for one architecture.
#[derive(Debug)]
pub(crate) struct Packages {
    arch: Arch,
    /// apt's lists of them, for another architecture than this machine's. The machine's own lists and settings stay as they are.
    lists: Option<PathBuf>,
}

impl Packages {
    /// # Errors
    /// Without apt-get, and if the lists cannot be downloaded.
    pub(crate) fn of(arch: Arch) -> Result<Self> {
        if !apt::is_available() {
            bail!("this needs Debian's packages, and this machine has no apt-get");
        }
        if arch == Arch::host()? {
            return Ok(Self { arch, lists: None });
        }
        let folder = linker::tools()?.join(format!("apt-{}", arch.debian()));
        let lists = folder.join("lists");
        let is_new = !lists.is_dir();
        fs::create_dir_all(lists.join("partial"))
            .with_context(|| format!("cannot make {}", lists.display()))?;
        let packages = Self {
            arch,
            lists: Some(lists),
        };
        if is_new {
            packages.update()?;
        }
        Ok(packages)
    }

    /// Updates the lists.
    pub(crate) fn update(&self) -> Result<()> {
        if self.lists.is_none() {
            return apt::update();
        }
        println!(
            "setup: downloading the lists of Debian's packages for {} (14 MB)",
            self.arch
        );
        process::run(self.command("apt-get").args(["--quiet", "update"]))
    }

    /// The names that match a regular expression.
    pub(crate) fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let mut search = self.command("apt-cache");
        let found = process::output(search.args(["search", "--names-only", pattern]))?;
        let names = found.lines().filter_map(|line| line.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// The packages, and those that they depend on, as if none were installed.
    pub(crate) fn with_dependencies(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut plan = self.command("apt-get");
        plan.args(["-o", "Dir::State::status=/dev/null"]);
        plan.args(["install", "--simulate", "--no-install-recommends"]);
        let plan = process::output(plan.args(packages))?;
        Ok(installed_by(&plan).map(str::to_owned).collect())
    }

    /// Downloads packages, `NAME` or `NAME=VERSION`, and unpacks their files into `folder`/root, which is there only if it is complete.
    pub(crate) fn unpack(&self, packages: &[impl AsRef<str>], folder: &Path) -> Result<()> {
        let scratch = folder.join(format!("new-{}", std::process::id()));
        let (archives, files) = (scratch.join("archives"), scratch.join("root"));
        for folder in [&archives, &files] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if self.download(packages, &archives).is_err() {
            // The lists may be older than the archive.
            self.update()?;
            self.download(packages, &archives)?;
        }
        for archive in fs::read_dir(&archives)? {
            let mut unpack = Command::new("dpkg-deb");
            process::run(unpack.arg("--extract").arg(archive?.path()).arg(&files))?;
        }
        let root = folder.join("root");
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot remove {}", root.display()))?;
        }
        fs::rename(&files, &root).with_context(|| format!("cannot make {}", root.display()))?;
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }

    fn download(&self, packages: &[impl AsRef<str>], folder: &Path) -> Result<()> {
        let mut download = self.command("apt-get");
        download.args(["-qq", "download"]);
        download.args(packages.iter().map(AsRef::as_ref));
        process::run(download.current_dir(folder))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // As the current user: apt's own user may not write to these folders.
        command
            .env("LC_ALL", "C")
            .args(["-o", "APT::Sandbox::User="]);
        if let Some(lists) = &self.lists {
            let arch = self.arch.debian();
            let lists = lists.display();
            let options = [
                format!("APT::Architecture={arch}"),
                format!("APT::Architectures::={arch}"),
                format!("Dir::State::Lists={lists}"),
                "Dir::State::status=/dev/null".to_owned(),
                // apt's caches describe the machine's own lists.
                "Dir::Cache::pkgcache=".to_owned(),
                "Dir::Cache::srcpkgcache=".to_owned(),
                "Acquire::Languages=none".to_owned(),
            ];
            for option in options {
                command.args(["-o", &option]);
            }
        }
        command
    }
}

/// The names in the lines `Inst NAME (VERSION …)` of apt's plan.
fn installed_by(plan: &str) -> impl Iterator<Item = &str> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    names.filter_map(|rest| rest.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_the_packages_to_install() {
        let plan = "Reading package lists...\n\
            Remv qemu-utils [1:10.0] [qemu-block-extra:amd64 ]\n\
            Inst libfdt1 (1.6.1-4 Debian:12/oldstable [amd64])\n\
            Inst qemu-system-x86 (1:7.2 Debian:12/oldstable [amd64])\n\
            Conf libfdt1 (1.6.1-4 Debian:12/oldstable [amd64])\n";
        let names: Vec<&str> = installed_by(plan).collect();
        assert_eq!(names, ["libfdt1", "qemu-system-x86"]);
    }
}
