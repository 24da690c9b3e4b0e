//! Finds the programs that the other commands need, or installs them with a message.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::toolchain::{self, Toolchain};
use crate::{apt, cargo_deny, kubectl, linker, process, promtool, vm};

/// LLVM's major version in Debian's rustc-web. It saves a second installation; a wrong number does no harm.
const DEBIAN_LLVM: u32 = 22;

/// `cargo xtask setup`.
pub(crate) fn everything() -> Result<()> {
    let (toolchain, linker) = bpf()?;
    test_programs()?;
    cargo_deny::find_or_install()?;
    kubectl::find_or_install()?;
    promtool::find_or_unpack()?;
    binutils()?;
    image_programs()?;
    image_test_programs()?;
    browser()?;
    cpp_compiler()?;
    println!("setup: ready: {toolchain}, {}", linker.display());
    Ok(())
}

/// The compiler and the linker for the kernel programs.
pub(crate) fn bpf() -> Result<(Toolchain, PathBuf)> {
    let toolchain = match toolchain::find()? {
        Ok(toolchain) => toolchain,
        Err(refused) => install_compiler(&refused)?,
    };
    let linker = linker::find_or_build(toolchain.llvm)?;
    Ok((toolchain, linker))
}

/// `ip`, with which tests and the playground create network namespaces.
pub(crate) fn ip() -> Result<()> {
    program("ip", "iproute2")
}

/// The programs of the kernel tests: a DNS server, a resolver, and one that loads netfilter rules.
pub(crate) fn test_programs() -> Result<()> {
    ip()?;
    program("dnsmasq", "dnsmasq-base")?;
    program("adnshost", "adns-tools")?;
    program("nft", "nftables")
}

/// The program that builds a container image.
pub(crate) fn image_programs() -> Result<()> {
    program("buildah", "buildah")
}

/// `objcopy`, which separates a binary from its debug information.
pub(crate) fn binutils() -> Result<()> {
    program("objcopy", "binutils")
}

/// The programs that run a container in network namespaces.
pub(crate) fn image_test_programs() -> Result<()> {
    ip()?;
    program("crun", "crun")
}

/// The browser of the status page's test.
pub(crate) fn browser() -> Result<()> {
    ip()?;
    if process::find_program("chromium").is_some() {
        return Ok(());
    }
    apt::install(
        &["chromium".to_owned()],
        "for the program `chromium`, which shows the status page in a test",
        "a minute",
    )
    .context("the program `chromium` (chromium) is missing")
}

/// `nft`, with which tests translate addresses.
pub(crate) fn nft() -> Result<()> {
    program("nft", "nftables")
}

/// The programs that load the netfilter rules of the benches.
pub(crate) fn netfilter_programs() -> Result<()> {
    nft()?;
    program("iptables-legacy-restore", "iptables")
}

/// The compiler for libFuzzer.
pub(crate) fn cpp_compiler() -> Result<()> {
    program("c++", "g++")
}

/// The programs for a virtual machine of this architecture; returns qemu's path.
pub(crate) fn vm_programs(arch: Arch) -> Result<PathBuf> {
    if arch == Arch::host()? {
        test_programs()?;
        nft()?;
    }
    program("depmod", "kmod")?;
    program("strip", "binutils")?;
    vm::qemu(arch)
}

fn program(name: &str, package: &str) -> Result<()> {
    if process::find_program(name).is_some() {
        return Ok(());
    }
    apt::install(
        &[package.to_owned()],
        &format!("for the program `{name}`"),
        "5 s",
    )
    .with_context(|| format!("the program `{name}` ({package}) is missing"))
}

/// A cargo subcommand that is a component of its own: `fmt`, `clippy`.
pub(crate) fn component(subcommand: &str, component: &str) -> Result<()> {
    let found = process::cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("cargo {subcommand} is missing: rustup component add {component}");
    }
    Ok(())
}

fn install_compiler(refused: &[String]) -> Result<Toolchain> {
    println!("setup: no installed compiler can build for BPF:");
    for reason in refused {
        println!("setup:   {reason}");
    }
    if !apt::is_available() {
        bail!("{}", remedies());
    }
    let mut packages = vec!["rustc-web".to_owned(), "rust-web-src".to_owned()];
    packages.extend(linker::packages(DEBIAN_LLVM));
    apt::install(&packages, "to build the kernel programs", "a minute").with_context(remedies)?;
    match toolchain::find()? {
        Ok(toolchain) => Ok(toolchain),
        Err(refused) => bail!("{}; {}", refused.join("; "), remedies()),
    }
}

fn remedies() -> String {
    format!(
        "building for BPF needs a rustc with the standard library's source: \
         `rustup toolchain install nightly --component rust-src`, \
         or on Debian `apt-get install rustc-web rust-web-src`, \
         or set {} to the path of one",
        toolchain::RUSTC
    )
}
