//! `cargo xtask`: every task of this workspace.

mod apt;
mod arch;
mod archive;
mod bench;
mod build;
mod cargo_deny;
mod cross;
mod failures;
mod fuzz;
mod image;
mod kubectl;
mod linker;
mod object;
mod packages;
mod pip;
mod process;
mod promtool;
mod release;
mod remap;
mod run;
mod setup;
mod static_agent;
mod test;
mod tidy;
mod toolchain;
mod versions;
mod vm;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::arch::Arch;
use crate::bench::{Bench, BenchOptions};
use crate::image::Platform;
use crate::test::Step;
use crate::workspace::Workspace;

/// Runs, tests and builds socklb. Each command first installs what it needs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show socklb at work in a small playground; `run -- ARGS` runs lb-agent with ARGS instead
    Run {
        /// End after N seconds, with a summary
        #[arg(long, value_name = "N", conflicts_with = "agent", value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
        /// Arguments for lb-agent
        #[arg(last = true, value_name = "ARGS")]
        agent: Vec<OsString>,
    },
    /// Run a command inside a pod of the running playground, or on its node
    Exec {
        /// The name of a pod, or `node`, on which lb-agent's commands ask the playground's agent
        pod: String,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Check formatting, the kernel programs, lints, tests and house rules
    Test {
        /// Only these steps
        #[arg(value_enum, value_name = "STEP")]
        steps: Vec<Step>,
        /// Arguments for the test binaries
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Fuzz the code that reads external input: it must not panic, nor contradict itself
    Fuzz {
        /// Only this target
        #[arg(value_enum, value_name = "TARGET")]
        target: Option<fuzz::Target>,
        /// Seconds for each target [default: 60]
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Runs of each target, instead of seconds
        #[arg(long, value_name = "N", conflicts_with = "seconds")]
        runs: Option<u64>,
        /// Run one target once, on this input
        #[arg(long, value_name = "FILE", requires = "target", conflicts_with_all = ["seconds", "runs"])]
        input: Option<PathBuf>,
    },
    /// Measure socklb next to other load balancers, in one run
    Bench {
        #[command(subcommand)]
        bench: Bench,
        #[command(flatten)]
        options: BenchOptions,
    },
    /// Run the kernel tests on another kernel, in a virtual machine
    Vm {
        /// The machine's architecture; another one than this machine's is emulated [default: this machine's]
        #[arg(long, value_enum, value_name = "ARCH")]
        arch: Option<Arch>,
        /// The kernel's version, of which Debian's newest package is used
        #[arg(long, value_name = "VERSION", default_value_t = vm::OLDEST)]
        kernel: vm::Version,
        /// `test kernel`, or `test kernel -- ARGS` with arguments for the test binary
        #[arg(last = true, value_name = "TASK")]
        words: Vec<OsString>,
    },
    /// Build the kernel programs, check them, and build target/release/lb-agent with them
    Build {
        /// Only the kernel programs
        #[arg(long)]
        bpf_only: bool,
    },
    /// Make a container image from scratch with a static lb-agent, as an OCI archive below target/image
    Image {
        /// The architecture of the nodes
        #[arg(long, value_enum, value_name = "ARCH", default_value_t = Platform::Host)]
        arch: Platform,
        /// The image's name
        #[arg(long, value_name = "NAME:TAG", default_value = image::TAG)]
        tag: String,
    },
    /// Write the version and the changelog of a release; then, from a commit with them, build it below target/dist
    Release {
        /// Like 1.2.3
        #[arg(required_unless_present = "check")]
        version: Option<release::Version>,
        /// Build the present commit twice, in two folders, and compare
        #[arg(long, conflicts_with = "version")]
        check: bool,
    },
    /// Compare the crates that socklb is built from with the RustSec database of vulnerabilities, which is fetched
    Advisories,
    /// Find or install everything that builds and tests need
    Setup,
}

fn main() -> ExitCode {
    let Some(task) = Cli::parse().task else {
        return match Cli::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    match dispatch(task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Run { seconds, agent } if agent.is_empty() => run::playground(&workspace, seconds)?,
        Task::Run { agent, .. } => run::agent(&workspace, &agent)?,
        Task::Exec { pod, command } => run::exec(&workspace, &pod, &command)?,
        Task::Test { steps, args } => return test::run(&workspace, &steps, &args),
        Task::Fuzz {
            target: Some(target),
            input: Some(input),
            ..
        } => fuzz::repeat(&workspace, target, &input)?,
        Task::Fuzz {
            target,
            seconds,
            runs,
            ..
        } => {
            let seconds = seconds.map(fuzz::FuzzLimit::Seconds);
            let until = runs.map(fuzz::FuzzLimit::Runs).or(seconds);
            fuzz::run(&workspace, target, until.unwrap_or(fuzz::MINUTE))?;
        }
        Task::Bench { bench, options } => bench::run(&workspace, bench, &options)?,
        Task::Vm {
            arch,
            kernel,
            words,
        } => {
            let arch = arch.map_or_else(Arch::host, Ok)?;
            return vm::run(&workspace, arch, kernel, &words);
        }
        Task::Build { bpf_only: true } => print!("{}", build::bpf(&workspace)?),
        Task::Build { bpf_only: false } => print!("{}", build::release(&workspace)?),
        Task::Image { arch, tag } => image::release(&workspace, arch, &tag)?,
        Task::Release {
            version: Some(version),
            ..
        } => release::run(&workspace, &version)?,
        Task::Release { version: None, .. } => release::check(&workspace)?,
        Task::Advisories => cargo_deny::advisories(&workspace)?,
        Task::Setup => setup::everything()?,
    }
    Ok(ExitCode::SUCCESS)
}
