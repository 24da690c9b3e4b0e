//! `cargo xtask test`: runs every step, also after a failure, and prints a summary.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::workspace::Workspace;
use crate::{build, fuzz, image, kubectl, process, promtool, setup, tidy, vm};

/// The steps, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting
    Fmt,
    /// The kernel programs build, and their object is sound
    Bpf,
    /// Lints
    Clippy,
    /// Unit and property tests, and integration tests that need neither root nor BPF
    Unit,
    /// Each fuzz target for a minute
    Fuzz,
    /// Real sockets, programs and maps in namespaces of their own; as root
    Kernel,
    /// The container image's root file system, with the capabilities of the DaemonSet in deploy/; as root
    Image,
    /// The status page in a headless browser; as root
    StatusPage,
    /// The kernel tests on Linux 6.1, in a virtual machine
    Vm,
    /// House rules
    Tidy,
}

impl Step {
    /// Whether its agent needs the kernel programs.
    const fn needs_programs(self) -> bool {
        matches!(
            self,
            Self::Kernel | Self::Image | Self::StatusPage | Self::Vm
        )
    }
}

/// The integration test of lb-agent that needs root.
pub(crate) const KERNEL_TEST: &str = "kernel";

/// The integration test that also needs an image and crun. It is separate, so that a virtual machine does not need them.
/// A part of the step `kernel` that no other kernel runs.
const PLAYGROUND_TEST: &str = "playground";
const IMAGE_TEST: &str = "image";

/// The integration test that needs a browser.
const PAGE_TEST: &str = "status_page";

/// Environment variable: the path of the image for [`IMAGE_TEST`], an OCI archive.
const IMAGE_VARIABLE: &str = "SOCKLB_TEST_IMAGE";

/// Runs the given steps, or all. The test binaries get `args`.
pub(crate) fn run(workspace: &Workspace, asked: &[Step], args: &[OsString]) -> Result<ExitCode> {
    let results: Vec<(Step, bool, Duration)> = chosen(asked)
        .into_iter()
        .map(|step| {
            println!("\n== {}", title(step));
            let start = Instant::now();
            let result = run_step(workspace, step, args);
            let time = start.elapsed();
            let word = match &result {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("FAILED: {error:#}"),
            };
            println!("-- {}: {word} ({:.1} s)", name(step), time.as_secs_f64());
            (step, result.is_ok(), time)
        })
        .collect();
    Ok(summary(&results))
}

/// The agent of the kernel tests embeds the object, so that is built first.
fn chosen(asked: &[Step]) -> Vec<Step> {
    let wants = |step: &Step| match step {
        Step::Bpf => asked
            .iter()
            .any(|step| step.needs_programs() || *step == Step::Bpf),
        step => asked.contains(step),
    };
    Step::value_variants()
        .iter()
        .filter(|step| asked.is_empty() || wants(step))
        .copied()
        .collect()
}

fn run_step(workspace: &Workspace, step: Step, args: &[OsString]) -> Result<()> {
    match step {
        Step::Fmt => fmt(workspace),
        Step::Bpf => bpf(workspace),
        Step::Clippy => clippy(workspace),
        Step::Unit => unit(workspace, args),
        Step::Fuzz => fuzz::run(workspace, None, fuzz::MINUTE),
        Step::Kernel => kernel(workspace, args),
        Step::Image => image(workspace, args),
        Step::StatusPage => status_page(workspace, args),
        Step::Vm => vm::test_kernel(workspace, vm::OLDEST, args),
        Step::Tidy => tidy::check(&workspace.root),
    }
}

fn fmt(workspace: &Workspace) -> Result<()> {
    setup::component("fmt", "rustfmt")?;
    let mut cargo = cargo(workspace);
    process::run(cargo.args(["fmt", "--all", "--check"]))
}

fn bpf(workspace: &Workspace) -> Result<()> {
    build::next_bpf(workspace)?;
    print!("{}", build::bpf(workspace)?);
    build::reference(workspace)?;
    Ok(())
}

fn clippy(workspace: &Workspace) -> Result<()> {
    setup::component("clippy", "clippy")?;
    let strict = ["--", "-D", "warnings"];
    let mut all = cargo(workspace);
    all.args(["clippy", "--workspace", "--exclude", "lb-ebpf"]);
    let all = process::run(all.arg("--all-targets").args(strict));
    // Separate: lb-common without the features for user space, and no test harness.
    let mut bpf = cargo(workspace);
    let bpf = process::run(bpf.args(["clippy", "-p", "lb-ebpf"]).args(strict));
    all.and(bpf)
}

fn unit(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    // Tests run it against the testbed's API server, and render deploy/ with it.
    let kubectl = kubectl::find_or_install()?;
    let promtool = promtool::find_or_unpack()?;
    setup::nft()?;
    let mut cargo = cargo_test(workspace);
    cargo.env("PATH", kubectl::path_with(&kubectl)?);
    cargo.env(promtool::VARIABLE, promtool);
    cargo.args(["--lib", "--bins"]);
    let is_of_unit = |test: &&String| {
        ![KERNEL_TEST, PLAYGROUND_TEST, IMAGE_TEST, PAGE_TEST].contains(&test.as_str())
    };
    for test in workspace.tests.iter().filter(is_of_unit) {
        cargo.args(["--test", test]);
    }
    process::run(cargo.arg("--").args(args))
}

fn kernel(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    setup::test_programs()?;
    let promtool = promtool::find_or_unpack()?;
    build::next_agent(workspace)?;
    let mut cargo = cargo_test(workspace);
    cargo.env(promtool::VARIABLE, promtool);
    test_as_root(
        cargo.args(["--test", KERNEL_TEST, "--test", PLAYGROUND_TEST]),
        args,
    )
}

fn image(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    setup::image_test_programs()?;
    let image = image::dev(workspace)?;
    let mut cargo = cargo_test(workspace);
    cargo.args(["--test", IMAGE_TEST]);
    test_as_root(cargo.env(IMAGE_VARIABLE, image), args)
}

fn status_page(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    setup::browser()?;
    test_as_root(cargo_test(workspace).args(["--test", PAGE_TEST]), args)
}

fn test_as_root(cargo: &mut Command, args: &[OsString]) -> Result<()> {
    if !process::is_root()? {
        cargo.env(runner_variable()?, "sudo -E");
    }
    process::run(cargo.arg("--").args(args))
}

/// `cargo test` for the same packages in all steps, so that each dependency has one set of features and is built once.
pub(crate) fn cargo_test(workspace: &Workspace) -> Command {
    let mut cargo = cargo(workspace);
    cargo.args(["test", "--workspace", "--exclude", "lb-ebpf"]);
    cargo
}

fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root);
    cargo
}

/// The variable with cargo's runner for test binaries.
fn runner_variable() -> Result<String> {
    let host = process::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim().to_uppercase().replace('-', "_");
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}

fn summary(results: &[(Step, bool, Duration)]) -> ExitCode {
    println!("\n== Summary");
    for (step, passed, time) in results {
        let word = if *passed { "ok" } else { "FAILED" };
        let seconds = time.as_secs_f64();
        println!("{:12}{word:8}{seconds:>7.1} s", name(*step));
    }
    if results.iter().all(|(_, passed, _)| *passed) {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Fmt => "fmt",
        Step::Bpf => "bpf",
        Step::Clippy => "clippy",
        Step::Unit => "unit",
        Step::Fuzz => "fuzz",
        Step::Kernel => "kernel",
        Step::Image => "image",
        Step::StatusPage => "status-page",
        Step::Vm => "vm",
        Step::Tidy => "tidy",
    }
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Fmt => "fmt: formatting",
        Step::Bpf => "bpf: the kernel programs build, and their object is sound",
        Step::Clippy => "clippy: lints",
        Step::Unit => "unit: unit and property tests",
        Step::Fuzz => "fuzz: each fuzz target for a minute",
        Step::Kernel => "kernel: real sockets, programs and maps, as root",
        Step::Image => {
            "image: the container image, with the capabilities of the DaemonSet in deploy/, as root"
        }
        Step::StatusPage => "status-page: the status page in a headless browser, as root",
        Step::Vm => "vm: the kernel tests on the oldest supported kernel, in a virtual machine",
        Step::Tidy => "tidy: house rules",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_by_default() {
        assert_eq!(chosen(&[]), Step::value_variants());
    }

    #[test]
    fn steps_keep_their_order_and_include_needed_builds() {
        assert_eq!(
            chosen(&[Step::Tidy, Step::Kernel]),
            [Step::Bpf, Step::Kernel, Step::Tidy]
        );
    }
}
