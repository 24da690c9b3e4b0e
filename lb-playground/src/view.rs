//! The texts of the live view, for the screen and for plain lines.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::hook_cost::Reading;
use crate::progress::Window;

/// Facts that do not change while the playground runs.
#[derive(Debug)]
pub(crate) struct PlaygroundInfo {
    /// The Service's address, as in a URL.
    pub(crate) frontend: &'static str,
    pub(crate) pods: [&'static str; 3],
    pub(crate) agent: PathBuf,
    pub(crate) examples: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) log_file: PathBuf,
    pub(crate) note: Option<String>,
}

/// The state at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) info: PlaygroundInfo,
    pub(crate) elapsed: Duration,
    pub(crate) window: Window,
    pub(crate) hook: Reading,
    pub(crate) agent_ended: Option<ExitStatus>,
    /// Problems that the agent reports, one line each.
    pub(crate) problems: Vec<String>,
}

impl View {
    pub(crate) fn new(info: PlaygroundInfo) -> Self {
        Self {
            info,
            elapsed: Duration::ZERO,
            window: Window::default(),
            hook: Reading::default(),
            agent_ended: None,
            problems: Vec::new(),
        }
    }

    /// One line, for use without a terminal.
    pub(crate) fn line(&self) -> String {
        let (all, recent) = (self.window.latest(), self.window.recent());
        let mut line = format!(
            "{:>4} s  requests {}  failures {}  connect hook {}",
            self.elapsed.as_secs(),
            all.requests,
            all.failures,
            nanoseconds(self.hook.recent)
        );
        for pod in self.info.pods {
            // Writing to a String does not fail.
            let _ = write!(
                line,
                "  {pod} {:.0} %",
                percent(recent.answers_of(pod), recent.answered())
            );
        }
        if let (Some(failure), true) = (&all.last_failure, recent.failures > 0) {
            let _ = write!(line, "  last failure: {failure}");
        }
        if let Some(status) = self.agent_ended {
            let _ = write!(line, "  agent exited: {status}");
        }
        line
    }

    /// Commands to try in another terminal.
    pub(crate) fn hints(&self) -> Vec<String> {
        let info = &self.info;
        vec![
            format!(
                "edit {}: make one endpoint `ready: false`, save",
                from_here(&info.examples.join("web.yaml")).display()
            ),
            format!(
                "cargo xtask exec client -- curl -s http://{}/",
                info.frontend
            ),
            "cargo xtask exec web-1 -- ip addr".to_owned(),
            format!(
                "{} status --socket {}",
                from_here(&info.agent).display(),
                info.socket.display()
            ),
        ]
    }

    /// Totals, for the end.
    pub(crate) fn summary(&self) -> String {
        let all = self.window.latest();
        let mut text = format!(
            "\n{} requests to http://{}/ in {:.1} s, {} failed\n",
            all.requests,
            self.info.frontend,
            self.elapsed.as_secs_f64(),
            all.failures
        );
        for pod in self.info.pods {
            let count = all.answers_of(pod);
            let _ = writeln!(
                text,
                "  {pod:<8} {count:>8}  {:>5.1} %",
                percent(count, all.answered())
            );
        }
        let _ = writeln!(
            text,
            "connect hook: {} on average",
            nanoseconds(self.hook.overall)
        );
        if let Some(failure) = &all.last_failure {
            let _ = writeln!(text, "last failure: {failure}");
        }
        if let Some(status) = self.agent_ended {
            let _ = writeln!(text, "the agent exited early: {status}");
        }
        text
    }
}

/// The path relative to the current folder, if it is below it, to fit a terminal's line.
fn from_here(path: &Path) -> &Path {
    let here = env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
}

pub(crate) fn nanoseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0} ns"))
}

pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_current_folder_is_shortened() {
        let here = env::current_dir().expect("there is one");
        let agent = Path::new("target/release/lb-agent");
        assert_eq!(from_here(&here.join(agent)), agent);
        assert_eq!(from_here(Path::new("/run/agent")), Path::new("/run/agent"));
    }
}
