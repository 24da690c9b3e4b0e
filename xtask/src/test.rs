//! `cargo xtask test`: says what it will do, runs every step, also after a failure, and prints a summary.

mod step;
mod times;

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

pub(crate) use self::step::Step;
use self::times::{Times, readable};
use crate::arch::Arch;
use crate::cross::Compiler;
use crate::failures::Failures;
use crate::workspace::Workspace;
use crate::{
    build, cargo_deny, fuzz, image, kubectl, process, promtool, setup, tidy, versions, vm,
};

/// The integration test of lb-agent that needs root.
pub(crate) const KERNEL_TEST: &str = "kernel";

/// A part of the step `kernel` that no other kernel runs.
const PLAYGROUND_TEST: &str = "playground";

/// The integration test that also needs an image and crun. It is separate, so that a virtual machine does not need them.
const IMAGE_TEST: &str = "image";

/// The integration test that needs a browser.
const PAGE_TEST: &str = "status_page";

/// Environment variable: the path of the image for [`IMAGE_TEST`], an OCI archive.
const IMAGE_VARIABLE: &str = "SOCKLB_TEST_IMAGE";

/// What became of a step.
#[derive(Debug)]
struct Outcome {
    step: Step,
    passed: bool,
    time: Duration,
    last_time: Option<Duration>,
    failures: Failures,
}

/// Runs the given steps, or all. The test binaries get `args`.
pub(crate) fn run(workspace: &Workspace, asked: &[Step], args: &[OsString]) -> Result<ExitCode> {
    let steps = chosen(asked);
    let mut times = Times::read(&workspace.target);
    println!("{}", compiler()?);
    print!("{}", announcement(&steps, &times));
    let mut outcomes = Vec::new();
    for step in steps {
        println!("\n== {}: {}", step.name(), step.subject());
        let last_time = times.of(step);
        let start = Instant::now();
        let mut failures = Failures::default();
        let result = run_step(workspace, step, args, &mut failures);
        let time = start.elapsed();
        let word = match &result {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("-- {}: {word} ({})", step.name(), readable(time));
        let passed = result.is_ok();
        // With arguments it may have run a part of its tests.
        if passed
            && args.is_empty()
            && let Err(error) = times.record(step, time)
        {
            println!("-- the time is not recorded: {error:#}");
        }
        outcomes.push(Outcome {
            step,
            passed,
            time,
            last_time,
            failures,
        });
    }
    print!("\n{}", summary(&outcomes));
    if outcomes.iter().all(|outcome| outcome.passed) {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Whether the compiler in use is the oldest that is supported: then a run shows that it suffices.
fn compiler() -> Result<String> {
    let version = process::output(Command::new("rustc").arg("--version"))?;
    let version = version.trim();
    let oldest = versions::RUST;
    let is_oldest = version.starts_with(&format!("rustc {oldest}."));
    Ok(match is_oldest {
        true => format!("{version}, the oldest supported"),
        false => format!("{version}; the oldest supported is {oldest}"),
    })
}

/// The steps, and how long each took last time.
fn announcement(steps: &[Step], times: &Times) -> String {
    let mut text = String::from("== Steps, and how long each took last time\n");
    for step in steps {
        let time = times.of(*step).map_or_else(|| "-".to_owned(), readable);
        text += &format!("{:12}{time:>12}  {}\n", step.name(), step.subject());
    }
    let known: Vec<Duration> = steps.iter().filter_map(|step| times.of(*step)).collect();
    if known.len() == steps.len() {
        let total = readable(known.iter().sum());
        text += &format!("{:12}{total:>12}\n", "total");
    }
    text
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("== Summary\n");
    for outcome in outcomes {
        let name = outcome.step.name();
        let word = if outcome.passed { "ok" } else { "FAILED" };
        let time = readable(outcome.time);
        let last = outcome.last_time.map_or_else(String::new, |time| {
            format!("  (last time {})", readable(time))
        });
        text += &format!("{name:12}{word:8}{time:>12}{last}\n");
    }
    let total = readable(outcomes.iter().map(|outcome| outcome.time).sum());
    text += &format!("{:20}{total:>12}\n", "total");
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        let failures = outcome.failures.text();
        if !failures.is_empty() {
            text += &format!("\n== Failed tests of {}\n{failures}", outcome.step.name());
        }
    }
    text
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

fn run_step(
    workspace: &Workspace,
    step: Step,
    args: &[OsString],
    failures: &mut Failures,
) -> Result<()> {
    match step {
        Step::Fmt => fmt(workspace),
        Step::Deny => cargo_deny::check(workspace),
        Step::Bpf => bpf(workspace),
        Step::Clippy => clippy(workspace),
        Step::Unit => unit(workspace, args, failures),
        Step::Fuzz => fuzz::run(workspace, None, fuzz::MINUTE),
        Step::Kernel => kernel(workspace, args, failures),
        Step::Image => image(workspace, args, failures),
        Step::StatusPage => status_page(workspace, args, failures),
        Step::Vm => vm::test_kernel(workspace, Arch::host()?, vm::OLDEST, args, failures),
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

fn unit(workspace: &Workspace, args: &[OsString], failures: &mut Failures) -> Result<()> {
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
    failures.run(cargo.arg("--").args(args))
}

fn kernel(workspace: &Workspace, args: &[OsString], failures: &mut Failures) -> Result<()> {
    setup::test_programs()?;
    let promtool = promtool::find_or_unpack()?;
    let compiler = Compiler::find_or_install(workspace, Arch::host()?)?;
    build::next_agent(workspace, &compiler)?;
    let mut cargo = cargo_test(workspace);
    cargo.env(promtool::VARIABLE, promtool);
    test_as_root(
        cargo.args(["--test", KERNEL_TEST, "--test", PLAYGROUND_TEST]),
        args,
        failures,
    )
}

fn image(workspace: &Workspace, args: &[OsString], failures: &mut Failures) -> Result<()> {
    setup::image_test_programs()?;
    let image = image::dev(workspace)?;
    let mut cargo = cargo_test(workspace);
    cargo.args(["--test", IMAGE_TEST]);
    test_as_root(cargo.env(IMAGE_VARIABLE, image), args, failures)
}

fn status_page(workspace: &Workspace, args: &[OsString], failures: &mut Failures) -> Result<()> {
    setup::browser()?;
    let mut cargo = cargo_test(workspace);
    test_as_root(cargo.args(["--test", PAGE_TEST]), args, failures)
}

fn test_as_root(cargo: &mut Command, args: &[OsString], failures: &mut Failures) -> Result<()> {
    if !process::is_root()? {
        cargo.env(runner_variable()?, "sudo -E");
    }
    failures.run(cargo.arg("--").args(args))
}

/// `cargo test` for the same packages in all steps, so that each dependency has one set of features and is built once.
pub(crate) fn cargo_test(workspace: &Workspace) -> Command {
    let mut cargo = cargo(workspace);
    cargo.args(["test", "--workspace", "--exclude", "lb-ebpf"]);
    // One run shows every failure.
    cargo.arg("--no-fail-fast");
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

    #[test]
    fn the_total_is_announced_if_all_times_are_known() {
        let folder = std::env::temp_dir().join(format!("socklb-test-{}", std::process::id()));
        let mut times = Times::read(&folder);
        let steps = [Step::Fmt, Step::Tidy];
        for step in steps {
            assert!(!announcement(&steps, &times).contains("total"));
            times
                .record(step, Duration::from_secs(40))
                .expect("the folder is writable");
        }
        std::fs::remove_dir_all(&folder).expect("it is ours");
        let text = announcement(&steps, &times);
        assert_eq!(text.lines().count(), 1 + steps.len() + 1);
        assert!(text.contains("1 min 20 s"), "{text}");
    }

    #[test]
    fn the_summary_has_both_times_of_a_step() {
        let text = summary(&[Outcome {
            step: Step::Vm,
            passed: false,
            time: Duration::from_secs(61),
            last_time: Some(Duration::from_secs(62)),
            failures: Failures::default(),
        }]);
        let line = text.lines().nth(1).expect("a line for each step");
        let words = ["vm", "FAILED", "1 min 01 s", "1 min 02 s"];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}
