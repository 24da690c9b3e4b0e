//! The texts of the live view, for the screen and for plain lines.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::hook_cost::Reading;
use crate::progress::{Progress, Window};

/// Facts that do not change while the playground runs.
#[derive(Debug)]
pub(crate) struct PlaygroundInfo {
    pub(crate) pods: [&'static str; 3],
    pub(crate) agent: PathBuf,
    pub(crate) examples: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) log_file: PathBuf,
    pub(crate) notes: Vec<String>,
}

/// A client of the Service, and the answers that it got.
#[derive(Debug)]
pub(crate) struct ClientView {
    pub(crate) name: String,
    /// What it is.
    pub(crate) from: &'static str,
    /// When a pod is chosen for it.
    pub(crate) balanced: &'static str,
    pub(crate) url: String,
    pub(crate) window: Window,
}

impl ClientView {
    pub(crate) fn new(
        name: &str,
        from: &'static str,
        balanced: &'static str,
        to: SocketAddr,
    ) -> Self {
        let url = match to.port() {
            80 => format!("http://{}/", to.ip()),
            _ => format!("http://{to}/"),
        };
        Self {
            name: name.to_owned(),
            from,
            balanced,
            url,
            window: Window::default(),
        }
    }

    /// A pod's share of the answers of the last seconds, in percent.
    pub(crate) fn share(&self, pod: &str) -> f64 {
        let recent = self.window.recent();
        percent(recent.answers_of(pod), recent.answered())
    }

    fn has_failed_lately(&self) -> bool {
        self.window.recent().failures > 0
    }
}

/// The state at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) info: PlaygroundInfo,
    pub(crate) clients: Vec<ClientView>,
    pub(crate) elapsed: Duration,
    pub(crate) hook: Reading,
    pub(crate) agent_ended: Option<ExitStatus>,
    /// Problems that the agent reports, one line each.
    pub(crate) problems: Vec<String>,
}

impl View {
    pub(crate) fn new(info: PlaygroundInfo, clients: Vec<ClientView>) -> Self {
        Self {
            info,
            clients,
            elapsed: Duration::ZERO,
            hook: Reading::default(),
            agent_ended: None,
            problems: Vec::new(),
        }
    }

    /// Adds a report of each client.
    pub(crate) fn push(&mut self, reports: impl IntoIterator<Item = Progress>) {
        for (client, report) in self.clients.iter_mut().zip(reports) {
            client.window.push(report);
        }
    }

    /// A line for each client, for use without a terminal.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        let mut second = format!("{:>4} s", self.elapsed.as_secs());
        for client in &self.clients {
            let all = client.window.latest();
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "{second:6}  {:<8} requests {:<6} failures {}",
                client.name, all.requests, all.failures
            );
            second.clear();
            for pod in self.info.pods {
                let _ = write!(text, "  {pod} {:.0} %", client.share(pod));
            }
            if let (Some(failure), true) = (&all.last_failure, client.has_failed_lately()) {
                let _ = write!(text, "  last failure: {failure}");
            }
            text.push('\n');
        }
        let _ = write!(
            text,
            "        connect hook {}",
            nanoseconds(self.hook.recent)
        );
        if let Some(status) = self.agent_ended {
            let _ = write!(text, "  agent exited: {status}");
        }
        text
    }

    /// The clients' last failures; clients with the same one share a line.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for client in &self.clients {
            if let Some(failure) = client.window.latest().last_failure {
                let when = match client.has_failed_lately() {
                    true => "",
                    false => " (not in the last 2 s)",
                };
                of.entry(format!("{when}: {failure}"))
                    .or_default()
                    .push(&client.name);
            }
        }
        of.into_iter()
            .map(|(failure, names)| format!("last failure of {}{failure}", names.join(", ")))
            .collect()
    }

    /// Commands to try in another terminal.
    pub(crate) fn hints(&self) -> Vec<String> {
        let info = &self.info;
        let mut hints = vec![format!(
            "edit {}: make one endpoint `ready: false`, save",
            from_here(&info.examples.join("web.yaml")).display()
        )];
        let curl = |client: &ClientView| {
            format!("cargo xtask exec {} -- curl -s {}", client.name, client.url)
        };
        hints.extend(self.clients.iter().map(curl));
        hints.push(format!(
            "{} status --socket {}",
            from_here(&info.agent).display(),
            info.socket.display()
        ));
        hints
    }

    /// Totals, for the end.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for client in &self.clients {
            let all = client.window.latest();
            let _ = writeln!(
                text,
                "\n{} ({}): {} requests to {} in {:.1} s, {} failed",
                client.name,
                client.from,
                all.requests,
                client.url,
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
            if let Some(failure) = &all.last_failure {
                let _ = writeln!(text, "  last failure: {failure}");
            }
        }
        let _ = writeln!(
            text,
            "\nconnect hook: {} on average",
            nanoseconds(self.hook.overall)
        );
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
