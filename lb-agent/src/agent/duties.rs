//! kube-proxy's duties while the agent runs: see [`crate::duties`].

use std::collections::BTreeSet;

use super::engine::Engine;
use super::packets::PacketPath;
use crate::catalog::{Family, Problem};
use crate::duties::conntrack::{
    Cleaned, CleanerAnswer, ConntrackCleaner, ConntrackError, StaleRule,
};
use crate::duties::health::{HealthReporter, HealthServers, HealthSettings, NodeEligibility};
use crate::duties::sysctls::{SysctlFiles, SysctlReport, check_and_set, online_cpus};
use crate::duties::{DutyMetrics, DutySettings};
use crate::policy::ServicePortKey;
use crate::tables::Backing;

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// The parts that work, and what they wait for.
#[derive(Debug)]
pub struct Duties {
    reporter: HealthReporter,
    servers: Option<HealthServers>,
    cleaner: Option<ConntrackCleaner>,
    cleaning: Option<CleanerAnswer>,
    /// Why the last cleaning failed.
    cleaning_error: Option<Problem>,
    /// Service ports of UDP that have changed since the last cleaning began.
    changed: BTreeSet<ServicePortKey>,
    /// Those of the node's addresses at the start.
    families: Vec<Family>,
    sysctls: SysctlReport,
    /// The node must have a Node object.
    has_api_server: bool,
    problems: Vec<Problem>,
}

impl Duties {
    /// `families`: those of the node's addresses. `packets`: the packet path, which needs all of them. Without it only `/healthz`
    /// is answered, if the settings ask for it.
    pub fn start(
        settings: &DutySettings,
        packets: Option<&PacketPath>,
        has_api_server: bool,
        families: &[Family],
        metrics: &DutyMetrics,
    ) -> Self {
        let mut duties = Self {
            reporter: HealthReporter::default(),
            servers: None,
            cleaner: None,
            cleaning: None,
            cleaning_error: None,
            changed: BTreeSet::new(),
            families: families.to_vec(),
            sysctls: SysctlReport::default(),
            has_api_server,
            problems: Vec::new(),
        };
        if packets.is_some() || settings.healthz.is_some() {
            let servers = HealthServers::start(HealthSettings {
                healthz: settings.healthz,
                health: duties.reporter.view(),
                metrics: metrics.clone(),
            });
            match servers {
                Ok(servers) => duties.servers = Some(servers),
                Err(error) => duties.fail("health", &error),
            }
        }
        duties.beat(packets);
        if packets.is_some_and(PacketPath::is_in_place) {
            duties.start_conntrack(settings, metrics);
        }
        duties
    }

    /// Starts the duties that need netfilter. To be called once.
    pub fn start_conntrack(&mut self, settings: &DutySettings, metrics: &DutyMetrics) {
        match ConntrackCleaner::start(metrics.clone()) {
            Ok(cleaner) => self.cleaner = Some(cleaner),
            Err(error) => self.fail("conntrack", &error),
        }
        self.sysctls = check_and_set(
            &SysctlFiles::default(),
            &settings.conntrack,
            online_cpus(),
            &self.families,
        );
    }

    fn fail(&mut self, duty: &'static str, error: &impl std::fmt::Display) {
        tracing::warn!(
            event = "duties.not_started",
            duty,
            %error,
            "one of kube-proxy's duties is not done",
        );
        self.problems.push(Problem {
            object: "node".to_owned(),
            message: error.to_string(),
        });
    }

    /// Changes have arrived.
    pub fn queued(&self) {
        self.reporter.queued(&FAMILIES);
    }

    /// All changes that have arrived are in effect.
    pub fn updated<B: Backing>(&mut self, engine: &mut Engine<B>) {
        self.reporter.updated(&FAMILIES);
        let node = NodeEligibility::of(engine.catalog(), self.has_api_server);
        self.reporter.set_node(node);
        if let Some(servers) = &self.servers
            && engine.take_changed_checks()
        {
            servers.set_services(engine.health_checks().checks());
        }
        if let Some(servers) = &self.servers {
            servers.set_addresses(engine.health_check_addresses());
        }
        let changed = engine.take_changed_udp();
        if self.cleaner.is_some() {
            self.changed.extend(changed);
            self.clean(engine);
        }
    }

    /// The main loop runs.
    pub fn beat(&self, packets: Option<&PacketPath>) {
        self.reporter.beat();
        let works = packets.is_none_or(PacketPath::works);
        self.reporter.set_lacks_packets(!works);
    }

    /// Begins to delete the conntrack entries of the changed service ports, unless that is under way.
    fn clean<B: Backing>(&mut self, engine: &Engine<B>) {
        let Some(cleaner) = self.cleaner.as_ref().filter(|_| self.cleaning.is_none()) else {
            return;
        };
        if self.changed.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        let ports = engine.ports(&changed);
        self.cleaning = Some(cleaner.clean(StaleRule::new(&ports)));
    }

    /// The result of a cleaning; never one if none is under way. Cancel safe.
    pub async fn cleaned(&mut self) -> Option<Result<Cleaned, ConntrackError>> {
        match &mut self.cleaning {
            Some(answer) => answer.await.ok(),
            None => std::future::pending().await,
        }
    }

    /// A cleaning is over.
    pub fn take_cleaned<B: Backing>(
        &mut self,
        result: Option<Result<Cleaned, ConntrackError>>,
        engine: &Engine<B>,
    ) {
        self.cleaning = None;
        match result {
            Some(Ok(cleaned)) => {
                self.cleaning_error = None;
                log_cleaned(cleaned);
            }
            Some(Err(error)) => self.take_cleaning_error(&error),
            None => {}
        }
        self.clean(engine);
    }

    /// Logs it unless the cleaning before failed for the same reason.
    fn take_cleaning_error(&mut self, error: &ConntrackError) {
        let problem = Problem {
            object: "node".to_owned(),
            message: error.to_string(),
        };
        if self.cleaning_error.as_ref() != Some(&problem) {
            tracing::warn!(
                event = "conntrack.not_cleaned",
                %error,
                "cannot delete conntrack entries: UDP flows may stay with backends that have stopped serving",
            );
        }
        self.cleaning_error = Some(problem);
    }

    /// What does not work now.
    pub fn problems(&self) -> Vec<Problem> {
        let of_servers = self.servers.iter().flat_map(HealthServers::problems);
        let of_kernel = self.sysctls.problems.iter().chain(&self.cleaning_error);
        of_servers
            .chain(of_kernel.chain(&self.problems).cloned())
            .collect()
    }

    /// Closes all ports, so that another agent can open them. Blocks for up to a second.
    pub fn close(self) {
        if let Some(servers) = self.servers {
            servers.close();
        }
    }
}

fn log_cleaned(Cleaned { seen, deleted }: Cleaned) {
    if deleted > 0 {
        tracing::info!(
            event = "conntrack.flows_deleted",
            count = deleted,
            seen,
            "deleted conntrack entries of UDP flows whose backend has stopped serving",
        );
    }
}
