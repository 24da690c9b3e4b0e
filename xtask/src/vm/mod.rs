//! `cargo xtask vm --kernel VERSION -- test kernel`: the kernel tests on another kernel, in a temporary virtual machine.

mod guest;
mod kernel;
mod libraries;
mod program;
mod programs;
mod qemu;
mod test_binaries;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) use self::kernel::Version;
pub(crate) use self::program::find_or_install as qemu;
use self::programs::Programs;
use crate::arch::Arch;
use crate::cross::Compiler;
use crate::failures::Failures;
use crate::workspace::Workspace;
use crate::{build, setup};

/// The oldest supported kernel.
pub(crate) const OLDEST: Version = Version { major: 6, minor: 1 };

/// Runs the tests of the command line after `--`.
pub(crate) fn run(
    workspace: &Workspace,
    arch: Arch,
    version: Version,
    words: &[OsString],
) -> Result<ExitCode> {
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
    build::next_bpf(workspace)?;
    // They are printed where they happen, and nothing comes after.
    test_kernel(workspace, arch, version, args, &mut Failures::default())?;
    Ok(ExitCode::SUCCESS)
}

/// Parts of the names of the tests that run by default: those in which another kernel could behave differently. An emulated machine
/// needs about ten seconds for each test, most of them for the verifier.
const DEPEND_ON_THE_KERNEL: [&str; 60] = [
    "aside::the_data_path",
    "bound::a_socket_bound",
    "cgroups::a_program_that",
    "cgroups::only_processes",
    "choice::affinity_ends",
    "choice::round_robin",
    "clients::only_selected",
    "connect::a_",
    "connect::an_",
    "connect::connected",
    "connect::the_",
    "duties::conntrack::stale",
    "events::a_follower",
    "frontends::a_node_port_answers",
    "frontends::a_port_that",
    "frontends::external_and",
    "leaks::an_mptcp",
    "leaks::kernel_sockets",
    "leaks::repeated",
    "lists::connections::rows",
    "loopback::",
    "memory::",
    "netfilter::elements::an_element",
    "netfilter::elements::many",
    "netfilter::elements::the_table",
    "netfilter::packets",
    "netfilter::watch",
    "node::missing",
    "outliers::random",
    "packets::affinity::clients",
    "packets::beside::connections_are_translated_once_where_kube_proxys_rules_are",
    "packets::cases",
    "packets::clean_up",
    "packets::devices::a_device",
    "packets::devices::devices",
    "packets::earlier",
    "packets::flows::flows_outlive_their",
    "packets::flows::tcp",
    "packets::forged",
    "packets::hairpin::a_pod_reaches",
    "packets::headers",
    "packets::icmp",
    "packets::links",
    "packets::matrix",
    "packets::refusals::a_cluster_ip",
    "packets::refusals::a_service",
    "packets::refusals::an_answer",
    "packets::repair::a_program",
    "packets::unload",
    "privileges::three",
    "resolver::",
    "restart::the_data_path",
    "service_metrics::connections",
    "service_metrics::round_trip",
    "sockets::",
    "stale::namespaces",
    "stale::resolver::a_client_waiting",
    "stale::resolver::deleting",
    "stale::tcp",
    "udp::",
];

/// Runs the kernel tests on a kernel of this architecture and version. The test binary gets `args`.
pub(crate) fn test_kernel(
    workspace: &Workspace,
    arch: Arch,
    version: Version,
    args: &[OsString],
    failures: &mut Failures,
) -> Result<()> {
    let qemu = setup::vm_programs(arch)?;
    let compiler = Compiler::find_or_install(workspace, arch)?;
    let folder = workspace.target.join("vm");
    let image = kernel::find_or_download(&folder, arch, version)?;
    let programs = Programs::find_or_unpack(&folder, arch)?;
    let binaries = test_binaries::build(workspace, &compiler)?;
    let chosen = DEPEND_ON_THE_KERNEL.map(OsString::from);
    let args = if args.is_empty() { &chosen[..] } else { args };
    let content = guest::Content {
        image: &image,
        programs: &programs,
        binaries: &binaries,
        args,
    };
    let initramfs = guest::initramfs(&folder, &compiler, &content)?;
    qemu::test(&qemu, arch, &image, &initramfs, failures)
}

fn is(word: &OsString, wanted: &str) -> bool {
    word == wanted
}
