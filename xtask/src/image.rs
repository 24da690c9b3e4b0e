//! `cargo xtask image`: a container image that holds one static file and nothing else, as an OCI archive below target/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use object::LittleEndian;
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};

use crate::workspace::Workspace;
use crate::{build, process, setup};

/// The image's name in deploy/.
pub(crate) const TAG: &str = concat!("localhost/lb-agent:", env!("CARGO_PKG_VERSION"));

/// How the agent is built.
#[derive(Clone, Copy, Debug)]
enum Profile {
    Release,
    /// For tests: built within a minute.
    Dev,
}

/// Builds the release image and prints how to load it.
pub(crate) fn release(workspace: &Workspace, tag: &str) -> Result<()> {
    build::bpf(workspace)?;
    let archive = make(workspace, Profile::Release, tag)?;
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
    make(workspace, Profile::Dev, TAG)
}

fn make(workspace: &Workspace, profile: Profile, tag: &str) -> Result<PathBuf> {
    setup::image_programs()?;
    let binary = build_static(workspace, profile)?;
    check_static(&binary)?;
    let folder = workspace.target.join("image");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let archive = folder.join(match profile {
        Profile::Release => "lb-agent.oci.tar",
        Profile::Dev => "lb-agent-dev.oci.tar",
    });
    pack(&folder, &binary, &archive, tag)?;
    Ok(archive)
}

/// Builds the agent, statically linked with its C library. With `--target`, the flags do not apply to build scripts and macros.
fn build_static(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let host = process::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let mut cargo = process::cargo();
    cargo
        .args(["build", "-p", "lb-agent", "--bin", "lb-agent"])
        .args(["--target", host])
        .current_dir(&workspace.root)
        .env(
            format!(
                "CARGO_TARGET_{}_RUSTFLAGS",
                host.to_uppercase().replace('-', "_")
            ),
            "-Ctarget-feature=+crt-static",
        )
        // A release image has no line numbers.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    for other in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(other);
    }
    let folder = match profile {
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
        Profile::Dev => "debug",
    };
    process::run(&mut cargo)
        .context("building a static lb-agent needs the C library's static files")?;
    Ok(workspace.target.join(host).join(folder).join("lb-agent"))
}

/// An image without a base image has no dynamic linker.
fn check_static(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let file = ElfFile64::<LittleEndian>::parse(bytes.as_slice())
        .with_context(|| format!("{}: not an ELF file", binary.display()))?;
    let (endian, data) = (file.endian(), file.data());
    let headers = file.elf_header().program_headers(endian, data)?;
    if headers
        .iter()
        .any(|header| header.p_type(endian) == PT_INTERP)
    {
        bail!(
            "{} is not static: it names a dynamic linker",
            binary.display()
        );
    }
    Ok(())
}

/// Packs the binary into an image without a base image. buildah's storage is in `folder` and is removed.
fn pack(folder: &Path, binary: &Path, archive: &Path, tag: &str) -> Result<()> {
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
    commit.arg("--signature-policy").arg(&policy).arg(container);
    process::output(commit.arg(format!("oci-archive:{}:{tag}", archive.display())))?;
    process::run(process::as_root("rm")?.arg("-rf").arg(&storage))
}

/// Annotations of the OCI image specification.
fn labels() -> [(&'static str, &'static str); 5] {
    [
        ("title", "lb-agent"),
        ("description", "Kubernetes Services, balanced at connect(2)"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
    ]
}
