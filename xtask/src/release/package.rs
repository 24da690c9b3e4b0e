//! The files of a release, in one folder.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::git::Repository;
use super::{prepare, sbom};
use crate::image::{self, Layer};
use crate::versions::OURS;
use crate::workspace::Workspace;
use crate::{archive, process, static_agent};

/// What the agent is built for.
#[derive(Debug)]
struct Target {
    /// The compiler's name of it.
    triple: &'static str,
    /// The name that images have for it.
    platform: &'static str,
}

const TARGETS: [Target; 1] = [Target {
    triple: "x86_64-unknown-linux-gnu",
    platform: "linux-amd64",
}];

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
    for target in &TARGETS {
        agent(workspace, folder, target, time)?;
    }
    manifests(workspace, folder, time)?;
    fs::write(folder.join("release-notes.md"), prepare::notes(workspace)?)?;
    let names = names(folder)?;
    let mut sums = Command::new("sha256sum");
    let sums = process::output(sums.arg("--").args(&names).current_dir(folder))?;
    fs::write(folder.join(SUMS), sums)?;
    table(folder)
}

/// The binary, its debug information, its image and its bill of materials.
fn agent(workspace: &Workspace, folder: &Path, target: &Target, time: u64) -> Result<()> {
    let host = static_agent::host()?;
    if host != target.triple {
        bail!(
            "cannot build for {} on {host}: no cross compiler is set up",
            target.triple
        );
    }
    let name = format!("lb-agent-{OURS}-{}", target.platform);
    let agent = static_agent::release(workspace, target.triple, folder, &name)?;
    let archive = folder.join(format!("{name}.oci.tar"));
    let temporary = workspace.target.join("image");
    image::pack(
        &temporary,
        &agent.binary,
        &archive,
        image::TAG,
        time,
        Layer::Gzip,
    )?;
    let bill = sbom::of(workspace, target.triple)?;
    let text = serde_json::to_string_pretty(&bill)?;
    fs::write(folder.join(format!("{name}.cdx.json")), text + "\n")?;
    Ok(())
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
