//! Tables get another size or layout while they are in use: no connect fails, open connections keep their backends, and every
//! count ends exact, even if an agent is killed during the migration.
//!
//! The agent with the other layouts exists only for these tests: `cargo xtask test kernel` builds it.

mod killed;
mod scene;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, ensure};
use lb_testbed::{AgentProcess, sandboxed};

use self::scene::{IN_ORDER, SIZES, Stage, ensure_moved, lengths, next, of_sizes, pinned, refusal};
use crate::support::{agent, backends, cluster_ip, eventually, status, unload, write_service};

#[test]
fn sizes_change_while_clients_connect() {
    sandboxed(|sandbox| {
        let stage = Stage::build(sandbox)?;
        let mut scene = stage.open()?;
        let before = 20;
        let clients = scene.clients();
        let wanted = [(131_072, 262_144), (3_840, 2_304), (9_216, 1_152)];
        let mut running = None::<AgentProcess>;
        for round in 1..=9 {
            if let Some(mut running) = running.take() {
                running.kill()?;
            }
            let agent = of_sizes(scene.agent, SIZES[round % 3]);
            let started = agent.start()?;
            ensure_moved(&started)?;
            running = Some(started);
            assert_eq!(lengths(&agent, "tables-v1")?, wanted[round % 3]);
            assert_eq!(pinned(&agent)?, IN_ORDER);
            scene.check_held()?;
        }
        let mut connects = before;
        for (number, client) in clients.into_iter().enumerate() {
            let turns = client.finish()?;
            connects += if number == 0 { turns } else { 0 };
        }
        scene.check_counts(Some(connects))?;
        scene.hold(4)?;
        scene.end()
    });
}

#[test]
fn sizes_are_not_reduced_below_the_indexes_in_use() {
    sandboxed(|sandbox| {
        let manifests = sandbox.manifests()?;
        let pods = |number: u8| -> Vec<IpAddr> {
            (1..=number)
                .map(|pod| Ipv4Addr::new(10, 1, 0, pod).into())
                .collect()
        };
        write_service(&manifests, "web", cluster_ip(10), &pods(100))?;
        let agent = agent(sandbox, &manifests);
        of_sizes(&agent, ["10000", "250000"]).start()?.kill()?;

        let small = of_sizes(&agent, ["16", "16"]);
        let mut running = small.start()?;
        let log = running.log();
        let mut kept = log.events("migration.not_smaller");
        let kept = kept.next().with_context(|| log.to_string())?;
        for (field, wanted) in [("flag", "--max-endpoints"), ("table", "BACKENDS")] {
            assert_eq!(kept[field], wanted);
        }
        let numbers = ["asked", "capacity", "wanted", "needed"].map(|field| kept[field].as_u64());
        assert_eq!(numbers, [16, 262_144, 24, 101].map(Some));
        let mut moved = log.events("migration.started");
        ensure!(
            moved.any(|moved| moved.text("changes").contains("FRONTENDS 131072 → 224")),
            "{log}"
        );
        assert_eq!(lengths(&agent, "tables-v1")?, (224, 262_144));
        assert_eq!(backends(&agent)?.len(), 100);
        // Sizes that fit at the next start are applied then.
        write_service(&manifests, "web", cluster_ip(10), &pods(0))?;
        eventually("it has no backends", || {
            Ok(backends(&agent)?.is_empty() && status(&agent)?.resting == 0)
        })?;
        running.kill()?;
        let _running = small.start()?;
        assert_eq!(lengths(&agent, "tables-v1")?, (224, 24));
        Ok(())
    });
}

#[test]
fn tables_of_a_newer_agent_are_refused() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        agent.start()?.terminate()?;
        for (room, newer) in [("tables-v1", "tables-v9"), ("origins-v1", "origins-v9")] {
            let [room, newer] = [room, newer].map(|name| agent.pin_dir().join(name));
            fs::create_dir(&newer)?;
            // It is empty: a leftover.
            agent.start()?.terminate()?;
            fs::create_dir_all(&newer)?;
            let map = fs::read_dir(&room)?.next().context("it has maps")??;
            fs::hard_link(map.path(), newer.join(map.file_name()))?;
            let said = refusal(&agent)?;
            for part in [
                &*newer.to_string_lossy(),
                "version 9",
                &format!("`lb-agent unload --pin-dir {}`", agent.pin_dir().display()),
            ] {
                ensure!(said.contains(part), "{part} is not in:\n{said}");
            }
            ensure!(unload(&agent)?.contains("detached 9 hooks"));
            ensure!(!agent.pin_dir().exists(), "something was left");
            agent.start()?.terminate()?;
        }
        Ok(())
    });
}

#[test]
fn tables_that_are_too_old_are_refused() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        agent.start()?.terminate()?;
        let [now, old] = ["tables-v1", "tables-v0"].map(|name| agent.pin_dir().join(name));
        fs::rename(&now, &old)?;
        let said = refusal(&agent)?;
        for part in [&*old.to_string_lossy(), "version 0", "lb-agent unload"] {
            ensure!(said.contains(part), "{part} is not in:\n{said}");
        }
        ensure!(unload(&agent)?.contains("detached 9 hooks"));
        agent.start()?.terminate()?;
        Ok(())
    });
}

#[test]
fn layouts_change_while_clients_connect() {
    sandboxed(|sandbox| {
        let stage = Stage::build(sandbox)?;
        let mut scene = stage.open()?;
        let before = 20;
        let clients = scene.clients();
        let this = scene.agent.clone();
        let mut running = this.start()?;
        running.kill()?;
        let next = next(sandbox, &stage.manifests)?;
        running = next.start()?;
        ensure_moved(&running)?;
        let log = running.log();
        let mut moved = log.events("migration.started");
        ensure!(
            moved.any(|moved| moved.text("changes").contains("layouts of version 1 → 2")),
            "{log}"
        );
        assert_eq!(pinned(&next)?, ["links", "origins-v1", "tables-v2"]);
        lengths(&next, "tables-v2")?;
        scene.check_held()?;
        let mut connects = before;
        for (number, client) in clients.into_iter().enumerate() {
            let turns = client.finish()?;
            connects += if number == 0 { turns } else { 0 };
        }
        scene.check_counts(Some(connects))?;
        scene.hold(4)?;
        scene.check_held()?;
        // The only way back is `unload`.
        running.kill()?;
        let said = refusal(&this)?;
        ensure!(
            said.contains("tables-v2") && said.contains("version 2"),
            "{said}"
        );
        scene.check_held()?;
        let _running = next.start()?;
        scene.end()
    });
}
