//! Whether an agent runs.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::finding::Finding;
use crate::counted::counted;
use crate::kernel::holder_of;
use crate::serve::{self, Status};

const CHECK: &str = "agent";

/// Longer than an agent takes that works on a large change.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub(super) async fn finding(pin_dir: &Path, socket: &Path) -> Finding {
    let holder = holder_of(pin_dir);
    let status = timeout(ANSWER_WITHIN, serve::fetch(socket, serve::STATUS)).await;
    let error = match status {
        Ok(Ok(status)) => return of_running(&status, holder),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer on {} within 4 s", socket.display()),
    };
    match holder {
        None => Finding::ok(CHECK, "none runs"),
        Some(process) => Finding::warning(
            CHECK,
            format!("process {process} holds {}: {error}", pin_dir.display()),
            "name its socket with --socket; if it is that one, see what the agent logs",
        ),
    }
}

fn of_running(status: &Status, holder: Option<u32>) -> Finding {
    let process = holder.map_or_else(String::new, |process| format!("process {process}, "));
    let detail = format!(
        "{process}version {}, {}, {}",
        status.version,
        counted(status.services, "Service"),
        counted(status.backends, "backend")
    );
    match (status.ready, status.problems.len()) {
        (false, _) => Finding::warning(
            CHECK,
            format!("{detail}, not ready"),
            "`lb-agent status` shows what it waits for",
        ),
        (true, 0) => Finding::ok(CHECK, detail),
        (true, problems) => Finding::warning(
            CHECK,
            format!("{detail}, {}", counted(problems, "problem")),
            "`lb-agent status` lists them",
        ),
    }
}
