//! Runs the recipe of docs/install.md that removes a starting node's taint, unchanged, with a kubectl that answers as a cluster
//! does, in sequence.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use lb_agent::cli;
use lb_agent::commands::probe::Probe;

use crate::rendered::{deploy, kustomize};
use crate::{agent, parse, probe};

/// Returns the block of docs/install.md that contains this text.
fn block(part: &str) -> String {
    let text = fs::read_to_string(deploy().join("../docs/install.md")).expect("docs/install.md");
    let mut blocks = text.split("```sh\n").skip(1);
    let block = blocks.find_map(|rest| rest.split("```").next().filter(|of| of.contains(part)));
    block
        .unwrap_or_else(|| panic!("{part} is in no block"))
        .to_owned()
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// At first there is no pod, then one whose container does not run: the object from before the reboot. Then it runs, but is not
/// ready yet.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >> "$LOG"
turn=$(grep -c "^$1 " "$LOG")
case $1 in
get) if [ "$turn" -lt 3 ]; then echo "No resources found" >&2; else echo pod/socklb-x; fi ;;
exec) if [ "$turn" -lt 4 ]; then exit 1; fi ;;
esac
"#;

#[test]
fn the_startup_taint_is_removed_once_the_agent_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    write_program(&folder.path().join("kubectl"), KUBECTL);
    write_program(&folder.path().join("sleep"), "#!/bin/sh\n");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .arg("-c")
        .arg(block("socklb.dev/starting-"))
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("LOG", &log)
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(log).expect("it has called kubectl");
    let calls: Vec<&str> = log.lines().collect();
    let of = |what: &str| calls.iter().filter(|call| call.starts_with(what)).count();
    assert_eq!((of("get "), of("exec "), of("taint ")), (6, 4, 1), "{log}");
    let last = calls.last().expect("a call");
    assert_eq!(*last, "taint node worker-1 socklb.dev/starting-");

    // The recipe asks the same question as the pod's readiness probe.
    let exec = calls
        .iter()
        .find_map(|call| call.split_once(" -- /lb-agent "));
    let (_, asked) = exec.expect("it asks the agent");
    let asked: Vec<String> = asked.split(' ').map(str::to_owned).collect();
    let cli::Command::Probe(asked) = parse(&asked) else {
        panic!("{asked:?}");
    };
    let readiness = probe(&agent(&kustomize("base")), "readinessProbe");
    assert_eq!((asked.what, asked.probe_socket), readiness);
    assert_eq!(readiness.0, Probe::Ready);
}
