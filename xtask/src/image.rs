//! `cargo xtask image`: a container image that holds one static file and nothing else, as an OCI archive below target/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{archive, process, setup, static_agent, versions};

/// The image's name in deploy/.
pub(crate) const TAG: &str = concat!("localhost/lb-agent:", env!("CARGO_PKG_VERSION"));

/// Builds the release image and prints how to load it.
pub(crate) fn release(workspace: &Workspace, tag: &str) -> Result<()> {
    let folder = folder(workspace);
    let agent = static_agent::release(workspace, &static_agent::host()?, &folder, "lb-agent")?;
    let archive = folder.join("lb-agent.oci.tar");
    pack(&folder, &agent.binary, &archive, tag, now()?, Layer::Gzip)?;
    let file = archive.display();
    let megabytes = fs::metadata(&archive)?.len().div_ceil(1_000_000);
    println!(
        "{file}: {tag}, {megabytes} MB\n\
         To load it, one of\n  \
         sudo ctr --namespace k8s.io images import {file}      # on a node with containerd\n  \
         podman load --input {file}\n  \
         kind load image-archive {file}\n\
         or push it: skopeo copy oci-archive:{file} docker://REGISTRY/lb-agent:TAG"
    );
    Ok(())
}

/// Builds an image with the binary of the tests' profile; returns the archive's path.
pub(crate) fn dev(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder(workspace);
    let archive = folder.join("lb-agent-dev.oci.tar");
    let agent = static_agent::dev(workspace)?;
    pack(&folder, &agent, &archive, TAG, now()?, Layer::Plain)?;
    Ok(archive)
}

/// How the image's only layer is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layer {
    /// For tests, which read it once.
    Plain,
    /// A third of the size.
    Gzip,
}

/// Seconds since 1970.
fn now() -> Result<u64> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(time.context("the clock")?.as_secs())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("image")
}

/// Packs the binary into an image without a base image. The archive depends only on the binary and on `time`, in seconds since 1970. buildah's
/// storage is in `folder` and is removed.
pub(crate) fn pack(
    folder: &Path,
    binary: &Path,
    archive: &Path,
    tag: &str,
    time: u64,
    layer: Layer,
) -> Result<()> {
    setup::image_programs()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let storage = folder.join("storage");
    let policy = folder.join("policy.json");
    // Nothing is pulled, so no registry needs trust.
    fs::write(&policy, r#"{"default": [{"type": "reject"}]}"#)?;
    let buildah = || -> Result<Command> {
        let mut command = process::as_root("buildah")?;
        command.arg("--root").arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]);
        Ok(command)
    };
    let container = process::output(buildah()?.args(["from", "scratch"]))?;
    let container = container.trim();
    let mut copy = buildah()?;
    copy.args([
        "copy", "--quiet", "--chmod", "0755", "--chown", "0:0", container,
    ]);
    process::output(copy.arg(binary).arg("/lb-agent"))?;
    let mut config = buildah()?;
    config.args(["config", "--entrypoint", r#"["/lb-agent"]"#, "--cmd", "run"]);
    for (name, value) in labels() {
        config
            .arg("--label")
            .arg(format!("org.opencontainers.image.{name}={value}"));
    }
    process::run(config.arg(container))?;
    let mut commit = buildah()?;
    commit.args(["commit", "--quiet", "--rm", "--format", "oci"]);
    commit.arg("--identity-label=false");
    commit.arg("--timestamp").arg(time.to_string());
    commit.arg(match layer {
        Layer::Plain => "--disable-compression=true",
        Layer::Gzip => "--disable-compression=false",
    });
    commit.arg("--signature-policy").arg(&policy);
    // buildah's own archives contain the time at which they are made.
    let layout = storage.join("layout");
    let to = format!("oci:{}:{tag}", layout.display());
    process::output(commit.arg(container).arg(to))?;
    let names = ["blobs", "index.json", "oci-layout"];
    archive::tar(&layout, &names, archive, time)?;
    process::run(process::as_root("rm")?.arg("-rf").arg(&storage))
}

/// Annotations of the OCI image specification.
fn labels() -> [(&'static str, &'static str); 5] {
    [
        ("title", "lb-agent"),
        ("description", "Kubernetes Services, balanced at connect(2)"),
        ("version", versions::OURS),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
    ]
}
