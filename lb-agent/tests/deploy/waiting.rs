//! The Job of the chart's hook, with a server that answers as an API server does.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};

const PATH: &str = "/apis/apps/v1/namespaces/socklb-system/daemonsets/socklb-unload";

/// A DaemonSet on two nodes.
fn available(pods: u64) -> Response {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "socklb-unload", "namespace": "socklb-system", "generation": 1},
        "spec": {"template": {}},
        "status": {
            "observedGeneration": 1, "currentNumberScheduled": 2, "desiredNumberScheduled": 2,
            "updatedNumberScheduled": 2, "numberAvailable": pods,
        },
    });
    object.to_string().into_response()
}

fn refusal() -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403,
        "reason": "Forbidden", "message": "not yours",
    });
    (StatusCode::FORBIDDEN, status.to_string()).into_response()
}

/// Runs `lb-agent wait-for-daemonset` with a server that gives these answers in sequence and repeats the last one. Returns the
/// number of requests too.
async fn wait(answers: fn(usize) -> Response, timeout: &str) -> (Output, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let answer = move || async move { answers(counted.fetch_add(1, Ordering::Relaxed)) };
    let router = Router::new().route(PATH, get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "socklb-system"}}],
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "a", "user": {}}],
    });
    fs::write(&kubeconfig, config.to_string()).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command
        .args(["wait-for-daemonset", "socklb-unload", "--timeout", timeout])
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("a thread").expect("a process");
    serving.abort();
    (output, asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn waiting_covers_every_pod_and_tolerates_errors() {
    let answers = |number| match number {
        0 => available(0),
        1 => refusal(),
        2 => available(1),
        _ => available(2),
    };
    let (output, asked) = wait(answers, "5m").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked, 4, "{said}");
    for line in ["0 of 2", "403 not yours", "1 of 2", "2 of 2"] {
        assert!(said.contains(line), "{line:?} is not in {said:?}");
    }
}

#[tokio::test]
async fn waiting_fails_after_the_timeout_and_reports_progress() {
    let (output, asked) = wait(|_| available(1), "1s").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(asked > 0 && said.contains("1 of 2 pods"), "{said}");
}
