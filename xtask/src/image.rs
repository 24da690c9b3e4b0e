//! `cargo xtask image`: a container image that holds one static file and nothing else, as an OCI archive below target/.

mod pack;

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

pub(crate) use self::pack::{Content, Layer, pack};
use crate::arch::Arch;
use crate::static_agent;
use crate::workspace::Workspace;

/// The image's name in deploy/.
pub(crate) const TAG: &str = concat!("localhost/lb-agent:", env!("CARGO_PKG_VERSION"));

/// For which nodes an image is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Platform {
    /// Those with this machine's architecture
    Host,
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
    /// Every architecture: an index of one image for each
    All,
}

impl Platform {
    fn arches(self) -> Result<Vec<Arch>> {
        Ok(match self {
            Self::Host => vec![Arch::host()?],
            Self::X86_64 => vec![Arch::X86_64],
            Self::Aarch64 => vec![Arch::Aarch64],
            Self::All => Arch::ALL.to_vec(),
        })
    }
}

/// Builds the release image and prints how to load it.
pub(crate) fn release(workspace: &Workspace, platform: Platform, tag: &str) -> Result<()> {
    let folder = folder(workspace);
    let mut binaries = Vec::new();
    for arch in platform.arches()? {
        let name = format!("lb-agent-{}", arch.debian());
        let agent = static_agent::release(workspace, arch, &folder, &name)?;
        binaries.push((arch, agent.binary));
    }
    let archive = folder.join("lb-agent.oci.tar");
    let content = Content {
        binaries: &binaries,
        tag,
        time: now()?,
        layer: Layer::Gzip,
    };
    pack(&folder, &content, &archive)?;
    let file = archive.display();
    let megabytes = fs::metadata(&archive)?.len().div_ceil(1_000_000);
    let arches: Vec<&str> = binaries.iter().map(|(arch, _)| arch.name()).collect();
    println!(
        "{file}: {tag} for {}, {megabytes} MB\n\
         To load it, one of\n  \
         sudo ctr --namespace k8s.io images import {file}      # on a node with containerd\n  \
         podman load --input {file}\n  \
         kind load image-archive {file}\n\
         or push it: skopeo copy --all oci-archive:{file} docker://REGISTRY/lb-agent:TAG",
        arches.join(" and ")
    );
    Ok(())
}

/// Builds an image with the binary of the tests' profile; returns the archive's path.
pub(crate) fn dev(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder(workspace);
    let archive = folder.join("lb-agent-dev.oci.tar");
    let content = Content {
        binaries: &[(Arch::host()?, static_agent::dev(workspace)?)],
        tag: TAG,
        time: now()?,
        layer: Layer::Plain,
    };
    pack(&folder, &content, &archive)?;
    Ok(archive)
}

/// Seconds since 1970.
fn now() -> Result<u64> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(time.context("the clock")?.as_secs())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("image")
}
