//! The ways to an API server: as a pod, or with a kubeconfig; over TLS, as all real ones want it.

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

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// Puts a service account there, for this sandbox's processes alone.
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
fn a_pod_finds_its_server_and_its_token_goes_with_each_request() {
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

        // The kubelet writes another token, and the old one is not taken any more.
        server.require_tokens(["another"]);
        server.cut();
        fs::write(Path::new(SERVICE_ACCOUNT).join("token"), "another")?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[..1])?;
        web.wait_for(&[0])?;
        // No files but root's.
        check_threads(running.id(), OF_TABLES).map(drop)
    });
}

/// Without kube-proxy: in the sandbox nobody serves that ClusterIP either.
#[test]
fn a_pod_whose_servers_address_nobody_serves_says_what_to_do() {
    sandboxed(|sandbox| {
        let front = TlsFront::start("127.0.0.1:1".parse()?)?;
        write_service_account("any", front.authority())?;
        let agent = Agent::in_cluster(env!("CARGO_BIN_EXE_lb-agent"), sandbox, "node-a")
            .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
            .env("KUBERNETES_SERVICE_PORT", "443");
        let _running = agent.spawn()?;
        eventually("the agent says why", || {
            let watches = status(&agent).map(|status| status.source.watches);
            let mut troubles = watches.into_iter().flatten().filter_map(|of| of.trouble);
            Ok(troubles.any(|why| why.contains("10.96.0.1") && why.contains("--api-server")))
        })
    });
}

#[test]
fn another_address_for_the_server_may_be_given() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let front = TlsFront::start(web.cluster.server.address())?;
        write_service_account("any", front.authority())?;
        // Nobody is there yet.
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
fn a_server_that_nobody_vouches_for_is_not_believed() {
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
        eventually("the agent says why", || {
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
fn one_of_several_contexts_may_be_named() {
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

/// A kubeconfig's user with a program that says the token that is in a file.
#[test]
fn a_program_that_a_kubeconfig_names_gets_credentials_also_later() {
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
