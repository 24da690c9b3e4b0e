//! `cargo xtask fuzz`: runs the fuzz targets with libFuzzer, guided by the coverage that the stable compiler counts.

use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::workspace::Workspace;
use crate::{process, setup};

/// The binaries of fuzz/.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Manifest files, saved again and again
    Manifests,
    /// Answers of an API server
    Watch,
    /// Pinned tables with arbitrary contents
    Recover,
}

/// How long each target runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FuzzLimit {
    Seconds(u64),
    Runs(u64),
}

/// The limit in `cargo xtask test`.
pub(crate) const MINUTE: FuzzLimit = FuzzLimit::Seconds(60);

/// LLVM's SanitizerCoverage, which the stable compiler has as a pass: it counts edges, and shows the operands of comparisons to the
/// fuzzer.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    --cfg=fuzzing";

/// Longest input in bytes; seconds for one input and megabytes of memory, above which a run is a failure.
const LIMITS: [&str; 3] = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=1024"];

/// Runs one target, or all, as many at a time as there are CPUs.
pub(crate) fn run(workspace: &Workspace, asked: Option<Target>, until: FuzzLimit) -> Result<()> {
    let folder = build(workspace)?;
    let asked: Vec<Target> = match asked {
        Some(target) => vec![target],
        None => Target::value_variants().to_vec(),
    };
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let left = Mutex::new(asked.iter());
    let worker = || {
        let mut failed = Vec::new();
        loop {
            let next = left.lock().ok().and_then(|mut left| left.next());
            let Some(target) = next else {
                return failed;
            };
            if let Err(error) = target.run(workspace, &folder, until) {
                failed.push(format!("{}: {error:#}", target.name()));
            }
        }
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cpus).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results.flat_map(Result::unwrap_or_default).collect()
    });
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// Runs one target on one input and shows its whole output.
pub(crate) fn repeat(workspace: &Workspace, target: Target, input: &Path) -> Result<()> {
    let mut command = Command::new(build(workspace)?.join(target.name()));
    process::run(command.args(LIMITS).arg(input))
}

/// Builds the targets; returns their folder. With `--target`, the flags do not apply to build scripts and macros.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    setup::cpp_compiler()?;
    let host = process::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--package", "lb-fuzz", "--bins"])
        .args(["--features", "libfuzzer", "--profile", "fuzz"])
        .args(["--target", host])
        .current_dir(&workspace.root)
        .env(
            format!(
                "CARGO_TARGET_{}_RUSTFLAGS",
                host.to_uppercase().replace('-', "_")
            ),
            COVERAGE,
        );
    for other in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(other);
    }
    process::run(&mut cargo)?;
    Ok(workspace.target.join(host).join("fuzz"))
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Manifests => "manifests",
            Self::Watch => "watch",
            Self::Recover => "recover",
        }
    }

    fn run(self, workspace: &Workspace, binaries: &Path, until: FuzzLimit) -> Result<()> {
        let name = self.name();
        let folder = workspace.target.join("fuzzed");
        // Inputs that reached new code are kept for the next run.
        let corpus = folder.join("corpus").join(name);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let log = folder.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(binaries.join(name));
        command.args(LIMITS).arg("-print_final_stats=1");
        command.arg(match until {
            FuzzLimit::Seconds(seconds) => format!("-max_total_time={seconds}"),
            FuzzLimit::Runs(runs) => format!("-runs={runs}"),
        });
        command.arg(format!("-artifact_prefix={}/{name}-", folder.display()));
        command.args(self.sources(&workspace.root, corpus));
        command.stdout(Stdio::null()).stderr(output);
        let status = command
            .status()
            .with_context(|| format!("cannot start {name}"))?;
        let said = fs::read(&log)?;
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            println!("{name}: {}", summary(&said));
            return Ok(());
        }
        let lines: Vec<&str> = said.lines().collect();
        let end = lines.iter().rposition(|line| line.contains("panicked at"));
        let last = &lines[end.unwrap_or_else(|| lines.len().saturating_sub(40))..];
        let Some(input) = artifact(&said) else {
            bail!("{status}\n{}", last.join("\n"));
        };
        bail!(
            "{}\nto repeat it: cargo xtask fuzz {name} --input {input}",
            last.join("\n")
        );
    }

    /// The dictionary and the folders with inputs; libFuzzer adds new inputs to the first folder.
    fn sources(self, root: &Path, corpus: PathBuf) -> Vec<PathBuf> {
        let words = || format!("-dict={}", root.join("fuzz/objects.dict").display()).into();
        let seeds = root.join("fuzz/seeds").join(self.name());
        match self {
            Self::Manifests => vec![words(), corpus, seeds, root.join("examples")],
            Self::Watch => vec![words(), corpus, seeds],
            // Its inputs are bytes for `arbitrary`, which no person can write.
            Self::Recover => vec![corpus],
        }
    }
}

/// The number of runs, their rate, and the coverage.
fn summary(said: &str) -> String {
    let figure = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("?").trim().to_owned()
    };
    let seen = said.lines().rev().find_map(|line| line.split_once("cov: "));
    let seen = seen.map_or("?", |(_, seen)| seen.split(" lim:").next().unwrap_or(seen));
    format!(
        "{} runs, {} a second, no fault; edges {seen}",
        figure("stat::number_of_executed_units:"),
        figure("stat::average_exec_per_sec:"),
    )
}

/// The file with the failing input.
fn artifact(said: &str) -> Option<&str> {
    let mut lines = said.lines().rev();
    lines.find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, path)| path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_result_is_summarized() {
        let said = "#8\tpulse  cov: 4 ft: 4 corp: 1/1b lim: 4\n#99\tDONE   cov: 120 ft: 300 corp: 30/9Kb lim: 994 exec/s: 9\n\
            stat::number_of_executed_units: 99\nstat::average_exec_per_sec:     9\n";
        assert_eq!(
            summary(said),
            "99 runs, 9 a second, no fault; edges 120 ft: 300 corp: 30/9Kb"
        );
        assert_eq!(artifact(said), None);
    }

    #[test]
    fn the_crashing_input_is_found() {
        let said = "artifact_prefix='/t/'; Test unit written to /t/watch-crash-12\nBase64: AA==\n";
        assert_eq!(artifact(said), Some("/t/watch-crash-12"));
    }
}
