//! The playground as the README tells to use it: needs root, as `cargo xtask test kernel` runs it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Long enough for the commands below on a busy machine.
const SECONDS: &str = "15";

struct Playground {
    state: PathBuf,
    child: Child,
}

impl Playground {
    /// Returns when its clients ask.
    fn start(state: PathBuf) -> Result<Self> {
        let playground = Path::new(env!("CARGO_BIN_EXE_lb-playground"));
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut child = command(&state)
            .arg("--agent")
            .arg(playground.with_file_name("lb-agent"))
            .arg("--examples")
            .arg(examples)
            .args(["--seconds", SECONDS])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
        let is_asking =
            |line: std::io::Result<String>| line.is_ok_and(|line| line.contains(" requests "));
        ensure!(lines.any(is_asking), "no request before the end");
        // It goes on writing.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { state, child })
    }

    fn exec(&self, pod: &str, words: &[&str]) -> Result<Output> {
        let mut exec = command(&self.state);
        exec.args(["exec", pod, "--"]).args(words);
        Ok(exec.output()?)
    }

    fn text(&self, pod: &str, words: &[&str]) -> Result<String> {
        let output = self.exec(pod, words)?;
        ensure!(output.status.success(), "{words:?} in {pod}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        // It may have ended already. It removes what it made even so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-playground"));
    command.env("SOCKLB_PLAYGROUND_STATE", state);
    command
}

/// The Service of examples/web.yaml in `lb-agent services`.
fn web(playground: &Playground) -> Result<Value> {
    let text = playground.text("node", &["lb-agent", "services", "-o", "json"])?;
    let services: Value = serde_json::from_str(&text)?;
    let all = services
        .as_array()
        .or_else(|| services["services"].as_array());
    let web = all.into_iter().flatten().find(|of| of["name"] == "web");
    web.cloned().with_context(|| format!("no web in {text}"))
}

#[test]
fn clients_are_served_and_commands_run_in_pods_and_on_the_node() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut playground = Playground::start(folder.path().join("state.json"))?;

    let [before, mut after] = [web(&playground)?, Value::Null];
    let connections = |of: &Value| of["connections"].as_u64();
    while connections(&after) <= connections(&before) {
        after = web(&playground)?;
    }
    let explained = playground.text("node", &["lb-agent", "explain", "default/web"])?;
    ensure!(explained.contains("10.96.0.10:80"), "{explained}");
    // Needs the pinned tables too.
    playground.text("node", &["lb-agent", "connections", "-o", "json"])?;

    let mut networks = Vec::new();
    for pod in ["node", "client", "vm", "outside", "web-1", "web-2", "web-3"] {
        networks.push(playground.text(pod, &["readlink", "/proc/self/ns/net"])?);
    }
    networks.push(fs::read_link("/proc/self/ns/net")?.display().to_string() + "\n");
    let all = networks.len();
    networks.sort();
    networks.dedup();
    ensure!(networks.len() == all, "{networks:?}");

    let unknown = playground.exec("web-4", &["true"])?;
    ensure!(!unknown.status.success(), "{unknown:?}");

    // Fails if a request has failed.
    let ended = playground.child.wait()?;
    ensure!(ended.success(), "{ended}");
    if playground.state.exists() {
        bail!("the playground has left its state");
    }
    Ok(())
}
