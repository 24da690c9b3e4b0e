//! A running agent whose packet path is damaged, and repairs it.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{AgentProcess, Deadline, Event};

use super::outcome::Outcome::Refused;
use super::outcome::expect;
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask_until_all};
use crate::netfilter::nft;
use crate::support::status;

/// Rules and elements are compared when the kernel reports a change, the devices once a second: with that they have a second.
pub const SECOND: Duration = Duration::from_secs(1);

/// Elements of the NAT maps in a [`Stage`]: two pods, two protocols, for each family.
pub const ELEMENTS: usize = 4;

/// A running agent, a Service with two endpoints, and one without.
pub struct Stage<'s> {
    pub scene: Scene<'s>,
    pub running: AgentProcess,
    pub web: Service,
    empty: Service,
}

impl<'s> Stage<'s> {
    pub fn start(mut scene: Scene<'s>) -> Result<Self> {
        let pods = scene.pods(2)?;
        let [web, empty] = [Service::new("web", 10), Service::new("empty", 20)];
        scene.write(&web, &[(&pods[0], "node-a"), (&pods[1], "node-a")])?;
        scene.write(&empty, &[])?;
        let running = scene.start()?;
        let stage = Self {
            scene,
            running,
            web,
            empty,
        };
        stage.check_packets()?;
        Ok(stage)
    }

    /// Both endpoints answer and see the node; the Service without endpoints refuses.
    pub fn check_packets(&self) -> Result<()> {
        let client = self.scene.outside.machine();
        for family in FAMILIES {
            let node = self.scene.outside.node_address(family);
            for protocol in PROTOCOLS {
                let to = self.web.at(Kind::NodePort, family, node);
                let seen = ask_until_all(client, to, protocol, &["pod-0", "pod-1"])?;
                ensure!(
                    seen.is_subset(&self.scene.node_addresses(family)),
                    "{seen:?}"
                );
                let to = self.empty.at(Kind::NodePort, family, node);
                expect(client, to, protocol, Refused)?;
            }
        }
        Ok(())
    }

    /// Does the damage, and waits for one more of these events than before, within `limit`. Then packets are balanced again.
    pub fn damage(
        &self,
        what: &str,
        event: &str,
        limit: Duration,
        damage: impl FnOnce() -> Result<()>,
    ) -> Result<Event> {
        let before = self.running.log().count(event);
        damage().context(what.to_owned())?;
        let deadline = Deadline::within(limit);
        let restored = loop {
            let log = self.running.log();
            if let Some(event) = log.events(event).nth(before) {
                break event.clone();
            }
            if deadline.is_over() {
                bail!("{what}: no {event} within {deadline}; the agent's log:\n{log}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        self.check_packets().context(what.to_owned())?;
        ensure!(restored.level() == "WARN", "{restored}");
        Ok(restored)
    }

    /// Runs nft; the parts of the table that are then repaired must be these.
    pub fn damage_rules(&self, lines: &str, parts: &str) -> Result<()> {
        let repaired = self.damage(lines, "packet_path.ruleset_repaired", SECOND, || {
            nft(lines).map(drop)
        })?;
        ensure!(repaired["parts"] == parts, "{repaired} after: {lines}");
        Ok(())
    }

    /// Runs nft; this many elements of the maps are then repaired.
    pub fn damage_elements(&self, lines: &str, count: usize) -> Result<()> {
        let repaired = self.damage(lines, "packet_path.elements_repaired", SECOND, || {
            nft(lines).map(drop)
        })?;
        ensure!(repaired["count"] == count, "{repaired} after: {lines}");
        Ok(())
    }

    pub fn repairs(&self, what: &str) -> Result<u64> {
        let repairs = status(&self.scene.agent)?.drift.repairs;
        Ok(repairs.get(what).copied().unwrap_or_default())
    }
}
