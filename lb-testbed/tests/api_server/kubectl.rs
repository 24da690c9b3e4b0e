//! The commands of the real kubectl that the server supports.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lb_testbed::api_server::{ApiServer, Kind};
use lb_testbed::{Deadline, Family, SliceManifest};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{server, service};

const LIMIT: Duration = Duration::from_secs(60);

/// How often to check the time limit.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// kubectl with a home folder of its own, without the user's configuration.
struct Kubectl {
    home: TempDir,
}

impl Kubectl {
    fn of(server: &ApiServer) -> Result<Self> {
        let home = tempfile::tempdir()?;
        server.write_kubeconfig(&home.path().join("kubeconfig"))?;
        Ok(Self { home })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments.split(' '))
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command
    }

    /// Runs it; returns its standard output.
    fn run(&self, arguments: &str) -> Result<String> {
        let output = self
            .command(arguments)
            .output()
            .context("`kubectl` cannot be run: install kubernetes-client")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("kubectl {arguments}: {said}");
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn write(&self, name: &str, object: &serde_json::Value) -> Result<()> {
        Ok(fs::write(self.home.path().join(name), object.to_string())?)
    }
}

/// A kubectl that keeps running, and its output lines.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it was piped")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The words of the next line.
    fn next(&self) -> Result<Vec<String>> {
        let deadline = Deadline::within(LIMIT);
        let line = loop {
            match self.lines.recv_timeout(CHECK_EVERY) {
                Err(RecvTimeoutError::Timeout) if !deadline.is_over() => {}
                line => {
                    break line.with_context(|| {
                        format!("kubectl has not printed a line within {deadline}")
                    })?;
                }
            }
        };
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn objects_are_created_listed_replaced_and_deleted() -> Result<()> {
    let server = server()?;
    let kubectl = Kubectl::of(&server)?;
    let slice = SliceManifest::new("web", Family::IPv4)
        .port("http", 8080)
        .addresses([[10, 244, 0, 1]]);
    kubectl.write("slice.json", &slice.to_json())?;
    kubectl.write("service.json", &service("web").port("admin", 81).to_json())?;
    assert_eq!(
        kubectl.run("create -f service.json -f slice.json")?,
        "service/web created\nendpointslice.discovery.k8s.io/web-ipv4 created\n"
    );
    let list = kubectl.run("get svc -A")?;
    let row = list.lines().nth(1).unwrap_or_default();
    let words: Vec<_> = row.split_whitespace().take(2).collect();
    assert_eq!(words, ["default", "web"], "{list}");

    let changed = service("web").udp_port("dns", 53).to_json();
    kubectl.write("service.json", &changed)?;
    kubectl.run("replace -f service.json")?;
    let stored = server
        .get(Kind::Service, "default", "web")
        .unwrap_or_default();
    assert_eq!(stored["spec"]["ports"], changed["spec"]["ports"]);

    kubectl.run("label service web a=b")?;
    kubectl.run("annotate service web c=d")?;
    assert_eq!(kubectl.run("get svc -l a=b -o name")?, "service/web\n");
    assert_eq!(
        kubectl.run("get svc web -o jsonpath={.metadata.annotations.c},{.spec.clusterIP}")?,
        "d,10.96.0.10"
    );
    kubectl.run("delete -f service.json")?;
    assert_eq!(server.get(Kind::Service, "default", "web"), None);
    let refused = error(&kubectl, "get svc web");
    assert!(refused.contains(r#"services "web" not found"#), "{refused}");
    Ok(())
}

#[test]
fn apply_creates_and_its_error_for_a_change_names_replace() -> Result<()> {
    let server = server()?;
    let kubectl = Kubectl::of(&server)?;
    kubectl.write("service.json", &service("web").to_json())?;
    let apply = "apply -f service.json";
    assert_eq!(kubectl.run(apply)?, "service/web created\n");
    assert_eq!(kubectl.run(apply)?, "service/web unchanged\n");
    kubectl.write("service.json", &service("web").port("admin", 81).to_json())?;
    let refused = error(&kubectl, apply);
    assert!(refused.contains("use `replace -f`"), "{refused}");
    Ok(())
}

/// The message of a command that must fail.
fn error(kubectl: &Kubectl, arguments: &str) -> String {
    match kubectl.run(arguments) {
        Ok(printed) => format!("no error, but {printed}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn kubectl_follows_a_watch() -> Result<()> {
    let server = server()?;
    server.apply(&service("web").to_json())?;
    let kubectl = Kubectl::of(&server)?;
    let columns = "custom-columns=:.metadata.name,:.spec.type";
    let command = format!("get svc --no-headers --watch -o {columns}");
    let following = Following::start(kubectl.command(&command))?;
    assert_eq!(following.next()?, ["web", "ClusterIP"]);
    let wider = service("web").spec("type", json!("NodePort"));
    server.apply(&wider.to_json())?;
    assert_eq!(following.next()?, ["web", "NodePort"]);
    server.apply(&service("other").to_json())?;
    assert_eq!(following.next()?, ["other", "ClusterIP"]);
    Ok(())
}

#[test]
fn kubectl_finds_the_kinds() -> Result<()> {
    let server = server()?;
    let kinds = Kubectl::of(&server)?.run("api-resources -o name")?;
    let kinds: Vec<_> = kinds.lines().collect();
    assert_eq!(
        kinds,
        [
            "namespaces",
            "nodes",
            "pods",
            "services",
            "endpointslices.discovery.k8s.io",
            "servicecidrs.networking.k8s.io"
        ]
    );
    Ok(())
}
