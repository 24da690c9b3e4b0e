//! Ways to an API server: from a pod, or with a kubeconfig; over TLS, as all real servers require.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_agent::privileges::OF_TABLES;
use lb_testbed::api_server::{Kind, TlsFront};
use lb_testbed::{Agent, sandboxed};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::{Web, write_token_kubeconfig};
use crate::privileges::check_threads;
use crate::support::{eventually, status};

/// The folder of a pod's service account.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// Creates a service account there, for this sandbox's processes only.
fn write_service_account(token: &str, authority: &str) -> Result<()> {
    fs::create_dir_all("/run")?;
    let nothing = None::<&str>;
    mount(nothing, "/run", Some("tmpfs"), MsFlags::empty(), nothing)
        .context("cannot mount a file system over /run")?;
    let folder = Path::new(SERVICE_ACCOUNT);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("token"), token)?;
    fs::write(folder.join("ca.crt"), authority)?;
    fs::write(folder.join("namespace"), "kube-system")?;
    Ok(())
}

#[test]
fn an_agent_in_a_pod_finds_its_server_and_sends_its_token() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 1)?;
        let server = &web.cluster.server;
        let front = TlsFront::start(server.address())?;
        server.require_tokens(["a pod's"]);
        write_service_account("a pod's", front.authority())?;
        let agent = Agent::in_cluster(env!("CARGO_BIN_EXE_lb-agent"), sandbox, "node-a")
            .env("KUBERNETES_SERVICE_HOST", &front.address().ip().to_string())
            .env(
                "KUBERNETES_SERVICE_PORT",
                &front.address().port().to_string(),
            );
        let running = agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
        web.wait_for(&[1])?;

        // The kubelet writes a new token, and the old one becomes invalid.
        server.require_tokens(["another"]);
        server.cut();
        fs::write(Path::new(SERVICE_ACCOUNT).join("token"), "another")?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[..1])?;
        web.wait_for(&[0])?;
        // Only files of root.
        check_threads(running.id(), OF_TABLES).map(drop)
    });
}

/// As without kube-proxy: nothing serves that ClusterIP in the sandbox.
#[test]
fn an_agent_that_cannot_reach_its_server_names_the_remedy() {
    sandboxed(|sandbox| {
        let front = TlsFront::start("127.0.0.1:1".parse()?)?;
        write_service_account("any", front.authority())?;
        let agent = Agent::in_cluster(env!("CARGO_BIN_EXE_lb-agent"), sandbox, "node-a")
            .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
            .env("KUBERNETES_SERVICE_PORT", "443");
        let _running = agent.spawn()?;
        eventually("the agent logs the reason", || {
            let watches = status(&agent).map(|status| status.source.watches);
            let mut troubles = watches.into_iter().flatten().filter_map(|of| of.trouble);
            Ok(troubles.any(|why| why.contains("10.96.0.1") && why.contains("--api-server")))
        })
    });
}

#[test]
fn the_servers_address_can_be_overridden() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let front = TlsFront::start(web.cluster.server.address())?;
        write_service_account("any", front.authority())?;
        // Nothing listens there yet.
        let agent = Agent::in_cluster(env!("CARGO_BIN_EXE_lb-agent"), sandbox, "node-a")
            .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
            .env("KUBERNETES_SERVICE_PORT", "443")
            .arg("--api-server")
            .arg(format!("https://{}", front.address()));
        let _running = agent.start()?;
        web.wait_for(&[0])
    });
}

#[test]
fn a_server_with_an_untrusted_certificate_is_refused() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let front = TlsFront::start(web.cluster.server.address())?;
        let stranger = TlsFront::start(web.cluster.server.address())?;
        let file = sandbox.dir().join("ca.crt");
        fs::write(&file, stranger.authority())?;
        let text = fs::read_to_string(&web.cluster.kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text)?;
        config["clusters"][0]["cluster"] = json!({
            "server": format!("https://{}", front.address()), "certificate-authority": file,
        });
        fs::write(&web.cluster.kubeconfig, config.to_string())?;
        let _running = web.cluster.agent.spawn()?;
        eventually("the agent logs the reason", || {
            let Ok(watch) = web.cluster.watch_of(Kind::Service) else {
                return Ok(false);
            };
            Ok(watch.trouble.is_some_and(|why| why.contains("certificate")))
        })?;
        assert_eq!(web.cluster.server.open_watches(Kind::Service), 0);
        Ok(())
    });
}

#[test]
fn a_kubeconfig_context_can_be_selected() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let token = sandbox.dir().join("token");
        fs::write(&token, "right")?;
        web.cluster.server.require_tokens(["right"]);
        write_token_kubeconfig(&web.cluster, &token)?;
        let text = fs::read_to_string(&web.cluster.kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text)?;
        let elsewhere = json!({"name": "elsewhere", "cluster": {"server": "http://127.0.0.1:1"}});
        let context =
            json!({"name": "elsewhere", "context": {"cluster": "elsewhere", "user": "testbed"}});
        let list = |config: &mut Value, key: &str, item| match config[key].as_array_mut() {
            Some(items) => items.push(item),
            None => config[key] = json!([item]),
        };
        list(&mut config, "clusters", elsewhere);
        list(&mut config, "contexts", context);
        config["current-context"] = json!("elsewhere");
        fs::write(&web.cluster.kubeconfig, config.to_string())?;

        let plan = |arguments: &[&str]| -> Result<(bool, String)> {
            let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
                .arg("plan")
                .arg("--kubeconfig")
                .arg(&web.cluster.kubeconfig)
                .args(arguments)
                .output()?;
            let said = [output.stdout, output.stderr].concat();
            Ok((output.status.success(), String::from_utf8(said)?))
        };
        let (is_planned, said) = plan(&["--context", "testbed"])?;
        assert!(is_planned && said.contains("10.96.0.10:80"), "{said}");
        let (is_planned, said) = plan(&[])?;
        assert!(!is_planned && said.contains("127.0.0.1:1"), "{said}");
        let (is_planned, said) = plan(&["--context", "nowhere"])?;
        assert!(!is_planned && said.contains("nowhere"), "{said}");
        Ok(())
    });
}

/// A kubeconfig's user with a program that prints the token in a file.
#[test]
fn an_exec_plugin_renews_credentials() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 1)?;
        let token = sandbox.dir().join("token");
        fs::write(&token, "right")?;
        web.cluster.server.require_tokens(["right"]);
        let says = format!(
            r#"printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "%s"}}}}' "$(cat {})""#,
            token.display()
        );
        let text = fs::read_to_string(&web.cluster.kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text)?;
        config["users"][0]["user"] = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", says],
            "interactiveMode": "Never",
        }});
        fs::write(&web.cluster.kubeconfig, config.to_string())?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.server.require_tokens(["another"]);
        web.cluster.server.cut();
        fs::write(&token, "another")?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
        web.wait_for(&[1])
    });
}
