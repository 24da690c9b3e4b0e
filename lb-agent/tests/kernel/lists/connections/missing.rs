//! Something is missing: the agent, the tables, capabilities.

use std::os::unix::process::CommandExt as _;

use anyhow::ensure;
use lb_testbed::sandboxed;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::Value;

use super::{Client, IPV4, NONE, Scene, cookies, cookies_of, of_output, one_of_each};
use crate::support::{eventually, status, unload};

#[test]
fn without_an_agent_services_have_no_names() {
    sandboxed(|sandbox| {
        let mut scene = Scene::start(sandbox, 2)?;
        let clients = scene.client.enter(|| one_of_each(&scene))??;
        let (with_agent, _) = scene.list(&[])?;
        scene.running.kill()?;

        let (without, error) = scene.list(&[])?;
        assert_eq!(error.lines().count(), 1, "{error}");
        ensure!(error.contains(&scene.agent.socket().display().to_string()));
        assert_eq!(cookies(&without), cookies_of(&clients)?);
        let addresses = |rows: &[Value]| {
            let mut rows: Vec<String> = rows
                .iter()
                .map(|row| {
                    let keys = ["cookie", "local", "frontend", "backend", "protocol"];
                    keys.map(|key| row[key].to_string()).join(" ")
                })
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(addresses(&without), addresses(&with_agent));
        ensure!(without.iter().all(|row| row.get("name").is_none()));

        let backend = clients[0].backend.to_string();
        let (rows, _) = scene.list(&["--backend", &backend])?;
        let of_backend = clients.iter().filter(|of| of.backend == clients[0].backend);
        assert_eq!(cookies(&rows), cookies_of(of_backend)?);
        for by_name in [["-n", "shop"].as_slice(), &["web"]] {
            let output = scene.command(by_name).output()?;
            assert_eq!(output.status.code(), Some(1), "{by_name:?}");
            ensure!(output.stdout.is_empty());
        }
        let table = scene.command(&["--backend", &backend]).output()?;
        let table = String::from_utf8(table.stdout)?;
        ensure!(table.contains("<unknown>"), "{table}");
        Ok(())
    });
}

#[test]
fn connections_of_a_removed_service_are_listed_without_its_name() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        scene.manifests.remove("web.json")?;
        eventually("the Service is gone", || {
            Ok(status(&scene.agent)?.frontends == 0)
        })?;
        let (rows, error) = scene.list(&[])?;
        ensure!(error.is_empty(), "{error}");
        assert_eq!(cookies(&rows), [client.cookie()?]);
        assert_eq!(rows[0]["frontend"], client.frontend.to_string());
        assert_eq!(rows[0]["backend"], client.backend.to_string());
        ensure!(rows[0].get("name").is_none());
        assert_eq!(scene.cookies(&["web"])?, NONE);
        Ok(())
    });
}

#[test]
fn without_tables_there_is_nothing_to_list() {
    sandboxed(|sandbox| {
        let mut scene = Scene::start(sandbox, 1)?;
        scene.running.kill()?;
        unload(&scene.agent)?;
        let output = scene.command(&[]).output()?;
        assert_eq!(output.status.code(), Some(1));
        ensure!(output.stdout.is_empty());
        let error = String::from_utf8(output.stderr)?;
        ensure!(
            error.contains(&scene.agent.pin_dir().display().to_string()),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn without_cap_sys_admin_only_the_own_namespace_is_searched() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let _of_pod = scene.client.enter(|| one_of_each(&scene))??;
        let of_node = sandbox.namespace().enter(|| one_of_each(&scene))??;
        let mut command = scene.command(&["-o", "json"]);
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                Ok(remove_capability_from_bounding_set(
                    CapabilitySet::SYS_ADMIN,
                )?)
            })
        };
        let (rows, error) = of_output(command.output()?)?;
        assert_eq!(cookies(&rows), cookies_of(&of_node)?);
        assert_eq!(error.lines().count(), 1, "{error}");
        ensure!(error.contains("CAP_SYS_ADMIN"), "{error}");
        Ok(())
    });
}
