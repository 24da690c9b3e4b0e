//! socklb reads the files that kubectl reads: the plan of a folder equals the plan of kubectl's output for it.
//!
//! `kubectl annotate --local` reads files, converts them to JSON and sends no request; `kubectl set selector --local` also
//! decodes Services with the API server's types. docs/decisions/0002-manifests.md has the rules.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn kubectl(arguments: &str, path: &Path) -> Output {
    let home = TempDir::new().expect("a folder");
    let mut command = Command::new("kubectl");
    command.args(arguments.split(' ')).arg("-f").arg(path);
    let output = command
        .env("KUBECONFIG", "/dev/null")
        .env("HOME", home.path())
        .output();
    output.expect("`kubectl` (1.27 or later) cannot be started: install it")
}

fn plan(path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .args(["plan", "--node-name", "n1", "-o", "json", "--manifests"])
        .arg(path)
        .output()
        .expect("the agent runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Service whose port is a scalar, and a slice with an endpoint for it.
fn web(name: &str, port: &str) -> String {
    format!("{}---\n{}", service(name, port), slice(name, "ready: true"))
}

fn service(name: &str, port: &str) -> String {
    let ip = name
        .bytes()
        .fold(0, |sum, byte| (sum * 31 + u32::from(byte)) % 65_536);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: 10.96.{}.{}\n  ports:\n  - {{name: http, port: {port}}}\n",
        ip / 256,
        ip % 256
    )
}

fn slice(name: &str, conditions: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [10.1.0.1], conditions: {{{conditions}}}}}]\n"
    )
}

fn json(name: &str) -> String {
    let service = format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}}, "spec": {{"clusterIP": "10.97.0.1", "ports": [{{"port": 80}}]}}}}"#
    );
    service.replace("10.97.0.1", &format!("10.97.0.{}", name.len()))
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let marked = format!("\u{feff}{text}");
    marked.encode_utf16().flat_map(bytes).collect()
}

/// Files that kubectl 1.32 and 1.37 read, and the number of Services in them.
fn files() -> (Vec<(String, Vec<u8>)>, usize) {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| files.push((name.to_owned(), bytes));
    let ports = [
        "0120",
        "080",
        "0o120",
        "0x50",
        "0b1010000",
        "+80",
        "8_0",
        "80.0",
        "8e1",
    ];
    for (index, port) in ports.iter().enumerate() {
        add(
            &format!("port-{index}.yaml"),
            web(&format!("port-{index}"), port).into(),
        );
    }
    add(
        "mark.yaml",
        format!(
            "\u{feff}{}---\n\u{feff}{}",
            web("mark-a", "80"),
            web("mark-b", "80")
        )
        .into(),
    );
    add(
        "line.yaml",
        format!("{}\u{feff}status: {{}}\n", service("line", "80")).into(),
    );
    add("le.yaml", utf16(&web("little", "80"), u16::to_le_bytes));
    add("be.yaml", utf16(&web("big", "80"), u16::to_be_bytes));
    add(
        "byte.yaml",
        [b"# r\xe9seau\n", web("byte", "80").as_bytes()].concat(),
    );
    add("crlf.yaml", web("crlf", "80").replace('\n', "\r\n").into());
    add(
        "blank.yaml",
        format!(
            "{}---\u{a0}\n{}",
            service("blank-a", "80"),
            service("blank-b", "80")
        )
        .into(),
    );
    add(
        "dots.yaml",
        format!("{}...\n{}", service("dots", "80"), service("unread", "80")).into(),
    );
    add("yaml.json", web("yaml", "80").into());
    add("json.yaml", format!("{}\n{}", json("j"), json("js")).into());
    add(
        "mixed.json",
        format!("{}---\n{}\n", service("mixed", "80"), json("json")).into(),
    );
    let repeated = "  name: web\n  name: repeated\n  labels: {a: x, a: b}\n";
    add(
        "repeated.yaml",
        web("repeated", "80")
            .replace("  name: repeated\n", repeated)
            .into(),
    );
    let merged = "base: &base {name: http, port: 81}\n";
    add(
        "merged.yaml",
        format!("{merged}{}", service("merged", "80, <<: *base")).into(),
    );
    add(
        "yes.yaml",
        format!(
            "{}---\n{}",
            service("is-ready", "80"),
            slice("is-ready", "ready: yes")
        )
        .into(),
    );
    add(
        "off.yaml",
        format!(
            "{}---\n{}",
            service("is-not", "80"),
            slice("is-not", "ready: off, serving: no")
        )
        .into(),
    );
    add(
        "null.yaml",
        service("nothing", "80")
            .replace("spec:", "  labels: {a: , b: null}\n  annotations: ~\nspec:")
            .into(),
    );
    // The last definition counts, within a file and in the order of files.
    add(
        "twice.yaml",
        format!("{}---\n{}", service("twice", "80"), service("twice", "81")).into(),
    );
    add("00.yaml", service("files", "80").into());
    add("99.yaml", service("files", "81").into());
    (files, ports.len() + 22)
}

#[test]
fn a_folder_is_read_as_kubectl_does() {
    let folder = TempDir::new().expect("a folder");
    let (files, count) = files();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let converted = kubectl("annotate --local -o json a=b", folder.path());
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let of_kubectl = TempDir::new().expect("a folder");
    fs::write(of_kubectl.path().join("all.json"), converted.stdout).expect("written");

    let (ours, theirs) = (plan(folder.path()), plan(of_kubectl.path()));
    let (ours, theirs) = (&ours["services"], &theirs["services"]);
    let list = ours.as_array().expect("a list");
    for service in list {
        let name = &service["name"];
        let same = |other: &&Value| &other["name"] == name;
        let others: Vec<_> = theirs
            .as_array()
            .expect("a list")
            .iter()
            .filter(same)
            .collect();
        assert_eq!(others, [service], "{name}");
    }
    assert_eq!(ours, theirs);
    assert_eq!(list.len(), count, "{list:#?}");
}

/// An object that an API server refuses is not served, and the problem names it.
#[test]
fn values_of_the_wrong_type_are_refused_as_an_api_server_does() {
    let cases = [
        service("web", "'80'"),
        service("web", "80.5"),
        service("web", "on"),
        service("web", "1e400"),
        service("web", "80, protocol: 6"),
        service("web", "80").replace("name: http", "name: 80"),
        service("web", "80").replace("name: http", "name: on"),
        service("web", "80").replace("name: web", "name: 80"),
        service("web", "80").replace("spec:", "  annotations: {socklb.dev/ignore: true}\nspec:"),
    ];
    for case in cases {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("web.yaml");
        fs::write(&path, &case).expect("written");
        let decoded = kubectl("set selector --local -o json a=b", &path);
        assert!(!decoded.status.success(), "{case}{}", text(&decoded.stdout));
        let plan = plan(&path);
        assert_eq!(plan["services"], Value::Array(vec![]), "{case}");
        assert_eq!(
            plan["problems"].as_array().map(Vec::len),
            Some(1),
            "{plan:#}"
        );
    }
    // A wrong label that decides nothing here only causes a warning.
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    let labelled = service("web", "80").replace("spec:", "  labels: {version: 1.10}\nspec:");
    fs::write(&path, labelled).expect("written");
    let decoded = kubectl("set selector --local -o json a=b", &path);
    assert!(!decoded.status.success(), "{}", text(&decoded.stdout));
    let plan = plan(&path);
    assert_eq!(plan["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(plan["problems"][0]["object"], "Service default/web");
}
