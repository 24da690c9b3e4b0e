//! Starts the agent: opens the data path, recovers its tables, and opens its sockets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use super::aborter::Aborter;
use super::change_summary::Changes;
use super::clients::{Clients, PodTracker};
use super::drift::DriftWatch;
use super::duties::Duties;
use super::engine::Engine;
use super::event_feed::EventFeed;
use super::kube_proxy_metrics::KubeProxyMetrics;
use super::metrics::AgentMetrics;
use super::outliers::Outliers;
use super::packets::PacketPath;
use super::settings::AgentSettings;
use super::shadow::Shadow;
use super::state::{Agent, Running};
use super::take_over::Prepared;
use super::terminator::{Terminator, TerminatorSettings};
use crate::catalog::Family;
use crate::kernel::{self, DataPath, Keeper, StartClients};
use crate::policy::{Masquerading, NodePorts};
use crate::serve::{HttpServer, Server, SyncStatus};
use crate::sockets::Worker;
use crate::source::{Source, node_addresses};
use crate::tables::Tables;

impl Agent {
    /// Opens the data path and applies the contents that the source has sent already.
    pub async fn start(
        settings: AgentSettings,
        prepared: Prepared,
        (clients, pods): (StartClients, Option<PodTracker>),
        sockets: Arc<Worker>,
    ) -> anyhow::Result<Self> {
        let Prepared {
            began,
            source,
            batches,
            first,
            pins,
        } = prepared;
        let opened = kernel::open(&settings.kernel, pins, &clients)?;
        log_hooks(&opened);
        let DataPath {
            maps,
            hooks,
            packets,
            cgroup,
            grace,
            host_network,
            log,
            pins,
            pinned,
            stats,
            events,
            failure_hooks,
            syn_timeout,
            counters,
            clients,
        } = opened;
        let termination = TerminatorSettings {
            tcp: settings.terminate_tcp,
            drains: settings.policy.drain.is_some(),
            every: settings.sweep_interval,
        };
        let terminator = Terminator::new(termination, maps.entry_reader()?, sockets.ability());
        terminator.log_limits();
        let aborter = Aborter::new(
            settings.abort_hanging,
            maps.entry_reader()?,
            sockets.ability(),
        );
        let mut tables = Tables::recover(maps).context("cannot read the pinned tables")?;
        let found = tables.counts();
        if found.service_ports > 0 {
            tracing::info!(
                event = "tables.recovered",
                service_ports = found.service_ports,
                frontends = found.frontends,
                backends = found.backends,
                "recovered the tables of an earlier agent",
            );
        }
        let outliers = Outliers::new(
            failure_hooks,
            settings.outlier_failures,
            &tables.ejections(),
        );
        tables.set_host_network(host_network);
        if let Some(Masquerading {
            cluster_cidrs,
            is_for_all,
        }) = &settings.policy.packets
        {
            tables.set_packet_path(cluster_cidrs, *is_for_all);
        }
        let node_ports = NodePorts {
            addresses: addresses(&settings)?,
            range: settings.node_port_range,
            allowed: settings.node_port_addresses.clone(),
            primary: settings.has_primary_node_ports.then(Vec::new),
        };
        let families: BTreeSet<Family> = node_ports
            .addresses
            .iter()
            .map(|address| Family::of(*address))
            .collect();
        let families: Vec<Family> = families.into_iter().collect();
        let mut engine = Engine::new(settings.policy.clone(), node_ports, tables);
        engine.refuse_unknown(false);
        // An earlier agent may have ended while somebody followed.
        engine.set_events_read(false);
        let server = Server::bind(&settings.socket)?;
        let http = match settings.http {
            Some(address) => Some(HttpServer::bind(address).await?),
            None => None,
        };
        let packets = match (packets, &settings.kernel.packets) {
            (Some(packets), Some(of_packets)) => Some(PacketPath::start(
                packets,
                of_packets,
                settings.check_interval,
            )?),
            _ => None,
        };
        let mut metrics = AgentMetrics::default();
        if settings.has_kube_proxy_metrics {
            metrics.kube_proxy = Some(KubeProxyMetrics::default());
            engine.collect_triggers(Timestamp::now());
        }
        let duties = Duties::start(
            &settings.duties,
            packets.as_ref(),
            matches!(settings.source, Source::Kubernetes(_)),
            &families,
            &metrics.duties,
        );
        let clients = pods.map(|pods| {
            let cgroup = cgroup.path.clone();
            Clients::new(pods, clients, Arc::clone(&sockets), cgroup)
        });
        let shadow = settings.shadow.map(|tolerance| {
            engine.changed_ports.collect();
            Shadow::start(tolerance, settings.policy.packets.as_ref())
        });
        let mut agent = Self {
            began,
            source,
            drift: DriftWatch::new(settings.check_interval),
            settings,
            engine,
            sockets,
            terminator,
            aborter,
            outliers,
            clients,
            shadow,
            batches,
            server,
            http,
            metrics,
            feed: EventFeed::default(),
            syncs: SyncStatus::default(),
            changes: Changes::default(),
            entry_usage: None,
            is_ready: false,
            has_spare_memory: false,
            packets,
            duties,
            opened: Running {
                grace: Arc::new(grace),
                log,
                stats,
                events,
                _syn_timeout: syn_timeout,
                counters,
                keeper: Keeper::new(pins, cgroup, pinned, hooks),
            },
        };
        if found.service_ports > 0 && !first.is_complete {
            tracing::warn!(
                event = "tables.leftovers_kept",
                "keeping all frontends of the earlier agent until all objects have been read",
            );
        }
        agent.take(first);
        Ok(agent)
    }
}

/// The node addresses of the settings, or those of the node's interfaces.
fn addresses(settings: &AgentSettings) -> anyhow::Result<Vec<IpAddr>> {
    if settings.node_addresses.is_empty() {
        return node_addresses::list().context("cannot list the node's addresses");
    }
    Ok(settings.node_addresses.clone())
}

fn log_hooks(opened: &DataPath) {
    let names = |is_new| {
        let hooks = opened.hooks.iter().filter(|hook| hook.is_new == is_new);
        hooks.map(|hook| hook.name).collect::<Vec<_>>().join(", ")
    };
    let cgroup = opened.cgroup.path.display();
    let (new, swapped) = (names(true), names(false));
    if !new.is_empty() {
        tracing::info!(
            event = "hooks.attached",
            %cgroup,
            hooks = new,
            "attached hooks",
        );
    }
    if !swapped.is_empty() {
        tracing::info!(
            event = "hooks.replaced",
            %cgroup,
            hooks = swapped,
            "replaced the programs of attached hooks without a gap",
        );
    }
    if !opened.cgroup.is_root() {
        tracing::info!(
            event = "cgroup.not_root",
            %cgroup,
            "the cgroup is not the root of the hierarchy: balancing only processes in it and below it",
        );
        if opened.cgroup.is_default {
            tracing::warn!(
                event = "cgroup.not_of_host",
                %cgroup,
                "the agent sees only a part of the host's cgroups: run it in the host's cgroup namespace, or set --cgroup \
                 to the host's cgroup2 folder",
            );
        }
    }
    tracing::info!(
        event = "pins.ready",
        path = %opened.pins.folder().display(),
        "hooks and tables are pinned",
    );
}
