//! What the programs report about single calls and sockets, translated into events for those who follow.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use lb_common::event::{Event, kind};
use serde_json::Value;

use super::clock::monotonic;
use super::state::Agent;
use crate::catalog::Printable;
use crate::kernel::ProgramEvents;
use crate::policy::ServicePortKey;
use crate::serve::{self, EventLevel, EventLog, EventRecord};

/// The events of the programs; never any while nobody follows.
pub async fn next(events: &mut ProgramEvents) -> Vec<Event> {
    match events.next().await {
        Ok(events) => events,
        Err(error) => {
            tracing::error!(
                event = "events.not_readable",
                %error,
                "cannot read the programs' events: nobody sees them",
            );
            std::future::pending().await
        }
    }
}

impl Agent {
    /// Turns the programs' events on while somebody follows, and reports what is missing.
    pub(super) fn feed_events(&mut self) {
        let log = &self.settings.events;
        let is_on = log.has_followers();
        if is_on != self.feed.is_on {
            self.feed.is_on = is_on;
            if is_on {
                self.feed.networks.search(&self.sockets);
            }
            self.engine.set_events_read(is_on);
            self.opened.events.look_regularly(is_on);
            self.feed.dropped = self.opened.events.dropped();
            return;
        }
        if is_on {
            let dropped = self.opened.events.dropped();
            for (number, (now, before)) in dropped.into_iter().zip(self.feed.dropped).enumerate() {
                // The agent itself reads those of suspect backends, and misses none that matters.
                if now > before && number != usize::from(kind::SUSPECT) {
                    let reason = u8::try_from(number).map_or("other", reason);
                    log.pass_on(serve::dropped(reason, now - before));
                }
            }
            self.feed.dropped = dropped;
        }
    }

    /// Judges suspect backends, and passes the other events on to those who follow.
    pub(super) fn take_program_events(&mut self, mut events: Vec<Event>) {
        self.take_suspects(&mut events);
        let log: EventLog = self.settings.events.clone();
        if !log.has_followers() {
            return;
        }
        let now = (Timestamp::now(), monotonic());
        let owners = self.owners(&events);
        for event in events {
            let record = self.record(&event, now, &owners);
            log.pass_on(record);
        }
    }

    /// For the addresses whose unknown ports were asked for, a port of the Service that has the address.
    fn owners(&self, events: &[Event]) -> HashMap<IpAddr, ServicePortKey> {
        let unknown = events.iter().filter(|of| of.kind == kind::UNKNOWN_PORT);
        let asked: HashSet<IpAddr> = unknown.map(|event| asked(event).ip()).collect();
        if asked.is_empty() {
            return HashMap::new();
        }
        let ports = self.engine.policy().service_ports();
        let owned = ports.flat_map(|port| {
            let addresses = port.frontends.iter().filter_map(|of| of.address);
            let addresses = addresses.filter(|address| asked.contains(address));
            addresses.map(|address| (address, port.key.clone()))
        });
        owned.collect()
    }

    fn record(
        &mut self,
        event: &Event,
        (now, ticks): (Timestamp, u64),
        owners: &HashMap<IpAddr, ServicePortKey>,
    ) -> EventRecord {
        let mut fields: BTreeMap<String, Value> = BTreeMap::new();
        let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        let is_failed = event.kind == kind::FAILED;
        let is_shadow = self.shadow.is_some();
        if !is_failed {
            add("reason", reason(event.kind).into());
        }
        if is_shadow && !is_failed {
            add("shadow", true.into());
        }
        if let Some(port) = self.service_port(event.service_port) {
            add("namespace", (&*port.namespace).into());
            add("service", (&*port.name).into());
            add("port", (&*port.port).into());
        } else if let Some(owner) = owners.get(&asked(event).ip()) {
            add("namespace", (&*owner.namespace).into());
            add("service", (&*owner.name).into());
        }
        add("frontend", asked(event).to_string().into());
        add("protocol", protocol(event.protocol).into());
        if let Some(backend) = self.backend_address(event) {
            add("backend", backend.to_string().into());
        }
        add("pid", event.process.into());
        let command = event.command.split(|byte| *byte == 0).next();
        let command = String::from_utf8_lossy(command.unwrap_or_default());
        add("command", Printable(&command).to_string().into());
        add("network", event.network.into());
        match self.feed.networks.name(event.network) {
            Some(name) => drop(add("network_namespace", Printable(name).to_string().into())),
            None => self.feed.networks.search(&self.sockets),
        }
        let age = SignedDuration::from_nanos(
            i64::try_from(ticks.saturating_sub(event.time)).unwrap_or_default(),
        );
        EventRecord {
            time: now.checked_sub(age).unwrap_or(now),
            event: match is_failed {
                true => "connection.failed",
                false => "connection.refused",
            }
            .to_owned(),
            level: EventLevel::Warn,
            message: match event.kind {
                _ if is_shadow && !is_failed => "let a call pass that would have been refused",
                kind::NO_BACKEND => "refused a call: the Service has no backend",
                kind::UNKNOWN_PORT => "refused a call: the ClusterIP has no such port",
                kind::UNKNOWN_ADDRESS => "refused a call: no Service has this address",
                _ => "a connection was given up before it was established",
            }
            .to_owned(),
            fields,
        }
    }

    pub(super) fn service_port(&mut self, id: u32) -> Option<&ServicePortKey> {
        if id == 0 {
            return None;
        }
        if !self.feed.names.contains_key(&id) {
            self.feed.names = self.engine.tables().names();
        }
        self.feed.names.get(&id)
    }

    fn backend_address(&self, event: &Event) -> Option<SocketAddr> {
        let id = event.backend;
        (id != 0)
            .then(|| self.engine.tables().backend_address(id))
            .flatten()
    }
}

/// The destination of the call.
fn asked(event: &Event) -> SocketAddr {
    crate::tables::socket_address(event.address, event.port)
}

/// Why a call was refused, as in the metric `socklb_refused_calls_total`.
const fn reason(of: u8) -> &'static str {
    match of {
        kind::NO_BACKEND => "no_backend",
        kind::UNKNOWN_PORT => "unknown_port",
        kind::UNKNOWN_ADDRESS => "unknown_address",
        _ => "failed",
    }
}

const fn protocol(number: u8) -> &'static str {
    match number {
        lb_common::UDP => "UDP",
        _ => "TCP",
    }
}
