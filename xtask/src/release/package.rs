//! The files of a release, in one folder.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::git::Repository;
use super::{prepare, sbom};
use crate::arch::Arch;
use crate::image::{self, Content, Layer};
use crate::versions::OURS;
use crate::workspace::Workspace;
use crate::{archive, process, static_agent};

/// Files and folders for somebody without the source tree: the commands of docs/install.md work there.
const DEPLOY: [&str; 6] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "deploy",
    "docs",
];

pub(super) const SUMS: &str = "SHA256SUMS";

/// Builds every file of the release of the present commit, and returns a table of them. A folder of that name is replaced.
///
/// The files depend only on the commit and on the tools that build it.
pub(super) fn build(workspace: &Workspace, folder: &Path) -> Result<String> {
    let repository = Repository::new(&workspace.root);
    let time = repository.time()?;
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut binaries = Vec::new();
    for arch in Arch::ALL {
        binaries.push((arch, agent(workspace, folder, arch)?));
    }
    let content = Content {
        binaries: &binaries,
        tag: image::TAG,
        time,
        layer: Layer::Gzip,
    };
    let archive = folder.join(format!("lb-agent-{OURS}.oci.tar"));
    image::pack(&workspace.target.join("image"), &content, &archive)?;
    manifests(workspace, folder, time)?;
    fs::write(folder.join("release-notes.md"), prepare::notes(workspace)?)?;
    let names = names(folder)?;
    let mut sums = Command::new("sha256sum");
    let sums = process::output(sums.arg("--").args(&names).current_dir(folder))?;
    fs::write(folder.join(SUMS), sums)?;
    table(folder)
}

/// The binary of one architecture, its debug information, and its bill of materials; returns the path of the binary.
fn agent(workspace: &Workspace, folder: &Path, arch: Arch) -> Result<PathBuf> {
    let name = format!("lb-agent-{OURS}-linux-{}", arch.debian());
    let agent = static_agent::release(workspace, arch, folder, &name)?;
    let bill = sbom::of(workspace, arch.triple())?;
    let text = serde_json::to_string_pretty(&bill)?;
    fs::write(folder.join(format!("{name}.cdx.json")), text + "\n")?;
    Ok(agent.binary)
}

/// The chart, named as Helm names its packages, and what a user needs of the source tree.
fn manifests(workspace: &Workspace, folder: &Path, time: u64) -> Result<()> {
    let helm = workspace.root.join("deploy/helm");
    let chart = folder.join(format!("socklb-{OURS}.tgz"));
    archive::tar_gz(&helm, &["socklb"], None, &chart, time)?;
    let inside = format!("socklb-deploy-{OURS}");
    let to = folder.join(format!("{inside}.tar.gz"));
    archive::tar_gz(&workspace.root, &DEPLOY, Some(&inside), &to, time)
}

/// The names of the files in a folder, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn table(folder: &Path) -> Result<String> {
    let mut table = String::new();
    for name in names(folder)? {
        let bytes = fs::metadata(folder.join(&name))?.len();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{bytes:>12}  {name}");
    }
    Ok(table)
}
