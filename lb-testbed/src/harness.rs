//! Lets an ordinary `#[test]` function run in a process of its own: namespaces and cgroups belong to processes,
//! while libtest runs tests as threads of one.

use std::panic::Location;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, raise};

use crate::patience::{Deadline, longest};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::supervisor::{Ended, Supervised};

/// The name of the test that the child process runs.
const NAME_VARIABLE: &str = "SOCKLB_SANDBOX";
/// The child's folder, made and removed by its parent.
const DIR_VARIABLE: &str = "SOCKLB_SANDBOX_DIR";
const PREFIX: &str = "socklb-test";
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// How often a child checks its time limit.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Runs the body of a test in a sandbox, for at most two minutes. An error or panic fails the test. Time that the test
/// waits for a CPU does not count ([`Deadline`]).
///
/// Call it directly in the `#[test]` function, with a closure written in place: the test's name is read from the closure's type.
/// It needs root, and the test fails without.
#[track_caller]
pub fn sandboxed<F: FnOnce(&Sandbox) -> Result<()>>(body: F) {
    sandboxed_within(DEFAULT_LIMIT, body);
}

/// As [`sandboxed`], with another time limit.
#[track_caller]
pub fn sandboxed_within<F: FnOnce(&Sandbox) -> Result<()>>(limit: Duration, body: F) {
    let name = test_name(std::any::type_name_of_val(&body));
    let result = match env::var(NAME_VARIABLE) {
        Ok(inside) if inside == name => run_inside(limit, body),
        _ => run_outside(name, limit),
    };
    if let Err(error) = result {
        fail(&error, Location::caller());
    }
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn fail(error: &anyhow::Error, place: &Location<'_>) -> ! {
    panic!("{error:?}\nin the sandbox at {place}");
}

fn run_inside<F: FnOnce(&Sandbox) -> Result<()>>(limit: Duration, body: F) -> Result<()> {
    end_within(limit)?;
    let dir = env::var_os(DIR_VARIABLE).with_context(|| format!("{DIR_VARIABLE} is not set"))?;
    let config = SandboxConfig {
        prefix: PREFIX.to_owned(),
        dir: dir.into(),
    };
    body(&Sandbox::enter(&config)?)
}

/// Ends this process when the time is over, with a message. Only from inside can it measure whether it was starved.
fn end_within(limit: Duration) -> Result<()> {
    let deadline = Deadline::within(limit);
    let watch = move || {
        while !deadline.is_over() {
            thread::sleep(CHECK_EVERY);
        }
        eprintln!("the test has not ended within {deadline}");
        // The parent cleans up.
        let _ = raise(Signal::SIGTERM);
    };
    let watching = thread::Builder::new().name("deadline".to_owned());
    watching
        .spawn(watch)
        .map(drop)
        .context("cannot start the thread that checks the time limit")
}

fn run_outside(name: &str, limit: Duration) -> Result<()> {
    let outputs =
        tempfile::NamedTempFile::new().context("cannot make a file for the test's output")?;
    let output = outputs
        .reopen()
        .context("cannot open the file for the test's output")?;
    let errors = output
        .try_clone()
        .context("cannot share the file for the test's output")?;
    let program = env::current_exe().context("cannot find the test's own program")?;
    let mut child = Supervised::start(PREFIX, true, |config| {
        let mut command = Command::new(program);
        command
            .args([
                name,
                "--exact",
                "--nocapture",
                "--include-ignored",
                "--test-threads",
                "1",
            ])
            .env(NAME_VARIABLE, name)
            .env(DIR_VARIABLE, &config.dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        command
    })?;
    // The child ends itself in time; this limit is for a child that cannot.
    let limit = longest(limit);
    let ended = child.wait_within(limit)?;
    drop(child);
    judge(name, ended, limit, outputs.path())
}

fn judge(name: &str, ended: Ended, limit: Duration, outputs: &Path) -> Result<()> {
    let said = String::from_utf8_lossy(&fs::read(outputs).unwrap_or_default()).into_owned();
    match ended {
        Ended::TimedOut => {
            bail!("{name} took more than {limit:?} and was killed; it said:\n{said}")
        }
        Ended::With(status) if !status.success() => {
            bail!("{name} failed ({status}); it said:\n{said}")
        }
        Ended::With(_) if !said.contains("test result: ok. 1 passed") => {
            bail!(
                "{name} is not the name of one test: call sandboxed directly in a #[test] function; it said:\n{said}"
            )
        }
        Ended::With(_) => {
            // Shown where libtest shows what tests print: with --nocapture.
            print!("{said}");
            Ok(())
        }
    }
}

/// libtest's name of the test whose body is a closure of this type: without the crate, without the closure.
fn test_name(closure: &str) -> &str {
    let path = closure
        .split_once("::")
        .map_or(closure, |(_crate_name, path)| path);
    path.split_once("::{{closure}}")
        .map_or(path, |(test, _)| test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_name_is_libtests() {
        assert_eq!(
            test_name("kernel::split::is_even::{{closure}}"),
            "split::is_even"
        );
        assert_eq!(test_name("kernel::is_even::{{closure}}"), "is_even");
        assert_eq!(
            test_name("kernel::a::is_even::{{closure}}::{{closure}}"),
            "a::is_even"
        );
        let body = |_: &Sandbox| -> Result<()> { Ok(()) };
        assert_eq!(
            test_name(std::any::type_name_of_val(&body)),
            "harness::tests::the_test_name_is_libtests"
        );
    }
}
