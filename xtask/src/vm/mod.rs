//! `cargo xtask vm --kernel VERSION -- test kernel`: the kernel tests on another kernel, in a temporary virtual machine.

mod guest;
mod kernel;
mod program;
mod qemu;
mod test_binaries;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) use self::kernel::Version;
pub(crate) use self::program::find_or_install as qemu;
use crate::workspace::Workspace;
use crate::{build, setup};

/// The oldest supported kernel.
pub(crate) const OLDEST: Version = Version { major: 6, minor: 1 };

/// Runs the tests of the command line after `--`.
pub(crate) fn run(workspace: &Workspace, version: Version, words: &[OsString]) -> Result<ExitCode> {
    let args = match words {
        [] => &[],
        [test, kernel] if is(test, "test") && is(kernel, "kernel") => &[],
        [test, kernel, dashes, args @ ..]
            if is(test, "test") && is(kernel, "kernel") && is(dashes, "--") =>
        {
            args
        }
        _ => bail!("a virtual machine runs `test kernel`, or `test kernel -- ARGS`"),
    };
    print!("{}", build::bpf(workspace)?);
    test_kernel(workspace, version, args)?;
    Ok(ExitCode::SUCCESS)
}

/// Tests that are skipped by default, since an emulated machine is slow: they test the agent more than the kernel, or a shorter test
/// covers the kernel's part.
const SKIPPED: [&str; 32] = [
    "capacity::",
    "churn::no_connect_reaches_another",
    "drift::",
    "duties::health",
    "endurance::",
    "handover::",
    "kubernetes::",
    "lists::backends",
    "lists::connections::filters",
    "lists::connections::many",
    "lists::connections::missing",
    "lists::connections::watch",
    "lists::explain",
    "lists::frontends",
    "lists::services",
    "lists::top",
    "migrate::killed::",
    "migrate::sizes_",
    "migrate::tables_",
    "netfilter::damage",
    "netfilter::memory",
    "packets::attach",
    "packets::devices::a_thousand",
    "packets::lives::no_question",
    "packets::ranges::changed",
    "packets::repair",
    "packets::rollout",
    "packets::without_netfilter",
    "probes::",
    "prometheus::",
    "restart::no_connect_fails",
    "scale::ten_thousand",
];

/// Runs the kernel tests on a kernel of this version. The test binary gets `args`.
pub(crate) fn test_kernel(
    workspace: &Workspace,
    version: Version,
    args: &[OsString],
) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the virtual machine needs an x86-64 host");
    }
    let qemu = setup::vm_programs()?;
    let folder = workspace.target.join("vm");
    let image = kernel::find_or_download(&folder, version)?;
    let binaries = test_binaries::build(workspace)?;
    let chosen: Vec<OsString> = SKIPPED
        .iter()
        .flat_map(|part| ["--skip".into(), part.into()])
        .collect();
    let args = if args.is_empty() { &chosen } else { args };
    let initramfs = guest::initramfs(&folder, &image, &binaries, args)?;
    qemu::test(&qemu, &image, &initramfs)
}

fn is(word: &OsString, wanted: &str) -> bool {
    word == wanted
}
