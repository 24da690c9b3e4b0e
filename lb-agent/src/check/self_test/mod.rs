//! Connects through a ClusterIP that only the self-test knows, with the real hooks and tables.
//!
//! A process of its own does it, in a cgroup and a network namespace of its own. Its programs and tables have no names, so they
//! end with it, however it ends. This process makes the cgroup and removes it. If it is killed before it can (SIGKILL), an empty
//! cgroup stays, and the next self-test removes it.

mod inside;
mod own_cgroup;
mod traffic;

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{SignalKind, signal};

pub use self::inside::inside;
use self::own_cgroup::OwnCgroup;
use super::finding::Finding;
use crate::kernel::Cgroup;
use crate::privileges::{OF_TABLES, held, names};

pub(super) const CHECK: &str = "self-test";

/// The hidden subcommand that the process runs.
const SUBCOMMAND: &str = "self-test-inside";

/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the self-test below a cgroup. A running agent on that cgroup goes on.
///
/// # Errors
/// SIGINT or SIGTERM ended it.
pub(super) async fn finding(cgroup: &Cgroup) -> anyhow::Result<Finding> {
    if let Some(finding) = not_allowed() {
        return Ok(finding);
    }
    // Before there is anything to remove.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let own = match OwnCgroup::make(&cgroup.path) {
        Ok(own) => own,
        Err(error) => return Ok(no_cgroup(&cgroup.path, &error)),
    };
    let mut running = match Running::start(own.path()) {
        Ok(running) => running,
        Err(error) => {
            return Ok(Finding::failure(
                CHECK,
                format!("cannot start its process: {error}"),
                "see whether /proc is mounted",
            ));
        }
    };
    let finding = tokio::select! {
        answer = running.answer() => of_answer(answer),
        () = tokio::time::sleep(LIMIT) => Finding::failure(
            CHECK,
            format!("not done within {} s", LIMIT.as_secs()),
            "try again when the machine is less busy; if it stays so, report a bug",
        ),
        _ = interrupt.recv() => bail!("the self-test was interrupted (SIGINT); nothing of it is left"),
        _ = terminate.recv() => bail!("the self-test was ended (SIGTERM); nothing of it is left"),
    };
    drop(running);
    let path = own.path().to_owned();
    match own.remove() {
        Ok(()) => Ok(finding),
        Err(error) => Ok(Finding::failure(
            CHECK,
            format!("cannot remove its cgroup {}: {error}", path.display()),
            format!("`rmdir {}` removes it", path.display()),
        )),
    }
}

/// Without the capabilities, what fails first would be no clear message.
fn not_allowed() -> Option<Finding> {
    let held = held().unwrap_or(CapabilitySet::empty());
    let held = match held.contains(CapabilitySet::SYS_ADMIN) {
        true => held | OF_TABLES.difference(CapabilitySet::NET_ADMIN),
        false => held,
    };
    let missing = OF_TABLES.union(CapabilitySet::SYS_ADMIN).difference(held);
    (!missing.is_empty()).then(|| {
        Finding::failure(
            CHECK,
            format!("cannot run it: {} missing", names(missing)),
            "run lb-agent as root, or in a container with these capabilities",
        )
    })
}

fn no_cgroup(parent: &Path, error: &io::Error) -> Finding {
    Finding::failure(
        CHECK,
        format!("cannot make a cgroup in {}: {error}", parent.display()),
        "run lb-agent as root, and mount the cgroups of the host writable, or name another cgroup with --cgroup",
    )
}

/// The process; it does not outlive this value, nor this process.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(cgroup: &Path) -> io::Result<Self> {
        let child = Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .arg(cgroup)
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// What it prints, when it has ended.
    async fn answer(&mut self) -> io::Result<String> {
        let stdout = self.0.stdout.take();
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            if let Some(mut stdout) = stdout {
                stdout.read_to_string(&mut text)?;
            }
            Ok(text)
        });
        read.await.map_err(io::Error::other)?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `answer`: the result of [`inside`] as JSON.
fn of_answer(answer: io::Result<String>) -> Finding {
    let result = answer.and_then(|text| Ok(serde_json::from_str::<Result<String, String>>(&text)?));
    match result {
        Ok(Ok(detail)) => Finding::ok(CHECK, detail),
        Ok(Err(error)) => Finding {
            remedy: Some("the rows above may name the cause; else report a bug".to_owned()),
            ..Finding::of_error(CHECK, &io::Error::other(error))
        },
        Err(error) => Finding::failure(
            CHECK,
            format!("its process ended without an answer: {error}"),
            "its own message is on stderr; see whether the kernel's log has more (`dmesg`)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn an_answer_is_a_result() {
        let of = |text: &str| of_answer(Ok(text.to_owned()));
        let finding = of(r#"{"Ok":"answered"}"#);
        assert_eq!(
            (finding.outcome, &*finding.detail),
            (Outcome::Ok, "answered")
        );
        let finding = of(r#"{"Err":"cannot connect: refused"}"#);
        assert_eq!(finding.outcome, Outcome::Failure);
        assert_eq!(finding.detail, "cannot connect: refused");
        assert_eq!(of("").outcome, Outcome::Failure);
    }
}
