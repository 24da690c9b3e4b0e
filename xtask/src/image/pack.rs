//! Packs static binaries into images without a base image, with buildah.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::{archive, process, setup, versions};

/// How an image's only layer is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layer {
    /// For tests, which read it once.
    Plain,
    /// A third of the size.
    Gzip,
}

/// What an OCI archive is made of. The archive depends on nothing else.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// One image for each; if they are several, the archive's name is that of an index of all.
    pub(crate) binaries: &'a [(Arch, PathBuf)],
    pub(crate) tag: &'a str,
    /// Seconds since 1970.
    pub(crate) time: u64,
    pub(crate) layer: Layer,
}

/// The index of all images, in buildah's storage.
const INDEX: &str = "index";

/// Writes the archive. buildah's storage is in `folder` and is removed.
pub(crate) fn pack(folder: &Path, content: &Content<'_>, archive: &Path) -> Result<()> {
    setup::image_programs()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let storage = Storage {
        folder: folder.join("storage"),
        policy: folder.join("policy.json"),
    };
    // Nothing is pulled, so no registry needs trust.
    fs::write(&storage.policy, r#"{"default": [{"type": "reject"}]}"#)?;
    // buildah's own archives contain the time at which they are made.
    let layout = storage.folder.join("layout");
    let named = |layout: &Path, name: &str| format!("oci:{}:{name}", layout.display());
    let name = named(&layout, content.tag);
    if let [(arch, binary)] = content.binaries {
        storage.image(content, *arch, binary, &name)?;
    } else {
        let parts = storage.folder.join("parts");
        process::output(storage.buildah()?.args(["manifest", "create", INDEX]))?;
        for (arch, binary) in content.binaries {
            let part = named(&parts, arch.debian());
            storage.image(content, *arch, binary, &part)?;
            process::output(storage.buildah()?.args(["manifest", "add", INDEX, &part]))?;
        }
        let mut push = storage.buildah()?;
        push.args(["manifest", "push", "--all", "--quiet", "--format", "oci"]);
        push.arg("--signature-policy").arg(&storage.policy);
        process::output(push.args([INDEX, &name]))?;
    }
    let names = ["blobs", "index.json", "oci-layout"];
    archive::tar(&layout, &names, archive, content.time)?;
    process::run(process::as_root("rm")?.arg("-rf").arg(&storage.folder))
}

/// buildah's.
struct Storage {
    folder: PathBuf,
    policy: PathBuf,
}

impl Storage {
    fn buildah(&self) -> Result<Command> {
        let mut command = process::as_root("buildah")?;
        command.arg("--root").arg(self.folder.join("root"));
        command.arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "vfs"]);
        Ok(command)
    }

    /// Makes the image of one architecture.
    fn image(&self, content: &Content<'_>, arch: Arch, binary: &Path, to: &str) -> Result<()> {
        let container = process::output(self.buildah()?.args(["from", "scratch"]))?;
        let container = container.trim();
        let mut copy = self.buildah()?;
        copy.args([
            "copy", "--quiet", "--chmod", "0755", "--chown", "0:0", container,
        ]);
        process::output(copy.arg(binary).arg("/lb-agent"))?;
        let mut config = self.buildah()?;
        config.args(["config", "--entrypoint", r#"["/lb-agent"]"#, "--cmd", "run"]);
        config.args(["--os", "linux", "--arch", arch.debian()]);
        for (name, value) in labels() {
            config
                .arg("--label")
                .arg(format!("org.opencontainers.image.{name}={value}"));
        }
        process::run(config.arg(container))?;
        let mut commit = self.buildah()?;
        commit.args(["commit", "--quiet", "--rm", "--format", "oci"]);
        commit.arg("--identity-label=false");
        commit.arg("--timestamp").arg(content.time.to_string());
        commit.arg(match content.layer {
            Layer::Plain => "--disable-compression=true",
            Layer::Gzip => "--disable-compression=false",
        });
        commit.arg("--signature-policy").arg(&self.policy);
        process::output(commit.arg(container).arg(to)).map(drop)
    }
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
