//! The image that `cargo xtask test image` builds: an OCI archive.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::daemonset::{list, text};

/// Unpacks the image into `rootfs`; returns its configuration (OCI image specification).
pub fn unpack(folder: &Path) -> Result<Value> {
    let archive = env::var_os("SOCKLB_TEST_IMAGE").context(
        "SOCKLB_TEST_IMAGE is not set: run `cargo xtask test image`, which makes the image",
    )?;
    let layout = folder.join("image");
    untar(archive.as_ref(), &layout)?;
    let blob = |descriptor: &Value| -> Result<PathBuf> {
        let digest = text(descriptor, "/digest")?.replace(':', "/");
        Ok(layout.join("blobs").join(digest))
    };
    let index = json_file(&layout.join("index.json"))?;
    let mut manifest = json_file(&blob(&index["manifests"][0])?)?;
    if manifest["manifests"].is_array() {
        // A release's image: an index of one for each architecture.
        let images = list(&manifest["manifests"]);
        let is_ours = |image: &&Value| image["platform"]["architecture"] == architecture();
        let ours = images.iter().find(is_ours);
        let ours = ours.with_context(|| format!("the image is not for {}", architecture()))?;
        manifest = json_file(&blob(ours)?)?;
    }
    for layer in list(&manifest["layers"]) {
        untar(&blob(&layer)?, &folder.join("rootfs"))?;
    }
    json_file(&blob(&manifest["config"])?)
}

/// The name that images have for this machine's architecture.
pub fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn json_file(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

fn untar(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(folder);
    let status = tar.status().context("cannot start `tar`")?;
    ensure!(status.success(), "{}: tar: {status}", archive.display());
    Ok(())
}
