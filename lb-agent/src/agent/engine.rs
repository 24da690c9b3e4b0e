//! The catalog, the policy's results and the tables, with one owner for all three.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use jiff::Timestamp;

use super::capacity::Capacity;
use super::changed_ports::ChangedPorts;
use super::graces::{GraceRules, Graces};
use super::problem_log::ProblemLog;
use super::refused_ports::RefusedPorts;
use super::slow_start::SlowStart;
use crate::catalog::{Catalog, Change, Protocol, Trigger};
use crate::duties::health::HealthChecks;
use crate::policy::{
    self, Frontend, FrontendKind, NodePorts, Options, Policy, Problem, ServicePort, ServicePortKey,
    Update,
};
use crate::source::node_addresses;
use crate::tables::{Backing, Check, Counts, Drift, Ejections, Tables};

/// Takes changes and writes the tables.
#[derive(Debug)]
pub struct Engine<B> {
    catalog: Catalog,
    policy: Policy,
    node_ports: NodePorts,
    tables: Tables<B>,
    /// The service ports that the tables could not take yet.
    refused: RefusedPorts,
    slow_start: SlowStart,
    capacity: Capacity,
    source_problems: Vec<Problem>,
    problem_log: ProblemLog,
    health_checks: HealthChecks,
    has_changed_checks: bool,
    changed_udp: Vec<ServicePortKey>,
    pub changed_ports: ChangedPorts,
    graces: Graces,
}

impl<B: Backing> Engine<B> {
    pub fn new(options: Options, node_ports: NodePorts, tables: Tables<B>) -> Self {
        Self {
            catalog: Catalog::new(&options.node_name),
            graces: Graces::new(options.drain),
            policy: Policy::new(options),
            node_ports,
            tables,
            refused: RefusedPorts::default(),
            slow_start: SlowStart::default(),
            capacity: Capacity::default(),
            source_problems: Vec::new(),
            problem_log: ProblemLog::default(),
            health_checks: HealthChecks::default(),
            has_changed_checks: false,
            changed_udp: Vec::new(),
            changed_ports: ChangedPorts::default(),
        }
    }

    /// Adds a batch of changes to the catalog and leaves the tables unchanged.
    ///
    /// `problems`: all current problems of the source.
    pub fn learn(&mut self, changes: Vec<Change>, problems: Vec<Problem>) {
        for change in changes {
            self.catalog.apply(change);
        }
        self.source_problems = problems;
    }

    /// Collects when changes of slices were caused, those after `since`, for [`Self::take_triggers`].
    pub fn collect_triggers(&mut self, since: Timestamp) {
        self.catalog.collect_triggers(since);
    }

    /// When the changes since the last call were caused.
    pub fn take_triggers(&mut self) -> Vec<Trigger> {
        self.catalog.take_triggers()
    }

    /// Applies the contents of the catalog to the tables. Call it first when every source has listed: until then an
    /// object may be missing only because it has not arrived yet.
    pub fn apply(&mut self) {
        let touched = self.catalog.take_touched();
        self.graces.begin_update(&self.policy, &touched);
        let mut update = self.policy.update(&self.catalog, touched.iter().cloned());
        self.graces.note(&update, &self.policy, &self.tables);
        let checks = &mut self.health_checks;
        self.has_changed_checks |= checks.update(&self.catalog, &self.policy, &touched);
        let changed = update.changed.iter().map(|port| &port.key);
        let udp = changed.filter(|key| key.protocol == Protocol::Udp);
        self.changed_udp.extend(udp.cloned());
        if self.take_primary() {
            let known: HashSet<_> = update.changed.iter().map(|port| port.key.clone()).collect();
            let others = self.ports_with_node_ports();
            let others = others.filter(|port| !known.contains(&port.key)).cloned();
            update.changed.extend(others.collect::<Vec<_>>());
        }
        self.bring_into_effect(update);
        self.log_problems();
    }

    /// The health checks of Services.
    #[must_use]
    pub const fn health_checks(&self) -> &HealthChecks {
        &self.health_checks
    }

    /// The addresses on which Services' health checks are answered; none: all.
    #[must_use]
    pub fn health_check_addresses(&self) -> Option<Vec<IpAddr>> {
        self.node_ports.restricted()
    }

    /// Whether [`Self::health_checks`] has changed since the last call.
    pub fn take_changed_checks(&mut self) -> bool {
        std::mem::take(&mut self.has_changed_checks)
    }

    /// The service ports of UDP that have changed since the last call.
    pub fn take_changed_udp(&mut self) -> Vec<ServicePortKey> {
        std::mem::take(&mut self.changed_udp)
    }

    /// These service ports, with NodePorts on the node's addresses.
    #[must_use]
    pub fn ports(&self, keys: &BTreeSet<ServicePortKey>) -> Vec<ServicePort> {
        let ports = self.policy.service_ports();
        let ports = ports.filter(|port| keys.contains(&port.key)).cloned();
        ports.map(|port| self.node_ports.expand(port)).collect()
    }

    /// Refuses addresses that no Service has, if the settings ask for it. Does nothing while `is_complete` is false,
    /// since an unreadable object may have any address.
    pub fn refuse_unknown(&mut self, is_complete: bool) {
        let nets: &[IpNet] = if is_complete {
            self.policy.refuse_unknown_in()
        } else {
            &[]
        };
        self.tables.refuse_unknown(nets);
    }

    /// Moves the NodePorts to new addresses of the node.
    pub fn set_node_addresses(&mut self, addresses: Vec<IpAddr>) {
        if addresses == self.node_ports.addresses {
            return;
        }
        node_addresses::log_change(&addresses);
        self.node_ports.addresses = addresses;
        let changed = self.ports_with_node_ports().cloned().collect();
        self.bring_into_effect(Update {
            changed,
            ..Update::default()
        });
        self.log_problems();
    }

    /// Takes the Node's primary addresses, if NodePorts are served on them. Returns whether they have changed. Those of a Node that
    /// is removed, or has none any more, stay.
    fn take_primary(&mut self) -> bool {
        let (Some(known), Some(node)) = (&mut self.node_ports.primary, self.catalog.own_node())
        else {
            return false;
        };
        let now = policy::primary_addresses(node);
        if now.is_empty() || now == *known {
            return false;
        }
        node_addresses::log_change(&now);
        *known = now;
        true
    }

    fn ports_with_node_ports(&self) -> impl Iterator<Item = &ServicePort> {
        let is_node_port = |frontend: &Frontend| frontend.kind == FrontendKind::NodePort;
        let ports = self.policy.service_ports();
        ports.filter(move |port| port.frontends.iter().any(is_node_port))
    }

    fn bring_into_effect(&mut self, mut update: Update) {
        let forgotten = self.refused.forget(&update);
        self.slow_start.take(&mut update, Instant::now());
        update.changed = update
            .changed
            .into_iter()
            .map(|port| self.node_ports.expand(port))
            .collect();
        self.changed_ports.note(&update);
        let refused = self.tables.apply(update);
        self.refused.keep(refused, forgotten);
    }

    /// Removes what an earlier agent left and no object needs. Call it when every source has listed.
    pub fn settle(&mut self) {
        self.tables.settle();
        self.retry();
    }

    /// Whether to wait for a grace period now. If so, call [`Self::grace_is_over`] after it.
    #[must_use]
    pub fn begin_grace(&mut self) -> bool {
        self.tables.begin_grace()
    }

    pub fn grace_is_over(&mut self) {
        self.tables.end_grace();
        self.retry();
    }

    /// Gives backends that are starting more of their weight.
    fn continue_slow_starts(&mut self) {
        let due = self.slow_start.due(Instant::now()).into_iter();
        let ports = due.filter_map(|key| self.policy.port(&key).cloned());
        let changed: Vec<ServicePort> = ports.filter(|port| !port.frontends.is_empty()).collect();
        if !changed.is_empty() {
            self.bring_into_effect(Update {
                changed,
                ..Update::default()
            });
        }
    }

    /// Frees what sockets no longer use, checks how full the tables are, continues slow starts, and logs lasting problems. Call it
    /// every second.
    pub fn tick(&mut self) {
        self.continue_slow_starts();
        if self.tables.has_quarantined() {
            self.tables.free_unnamed();
            self.retry();
        }
        self.graces.forget(&self.tables);
        self.capacity.check(&self.tables.usage());
        self.problem_log.log_lasting(Instant::now());
    }

    /// The programs fail open from this time on unless another call postpones it: see [`super::heartbeat`].
    pub fn set_fail_open_at(&mut self, at: u64) {
        self.tables.set_fail_open_at(at);
    }

    /// Removes the entries of sockets that closed without running a hook.
    pub fn sweep(&mut self, closed: &HashSet<u64>) {
        match self.tables.sweep(closed) {
            Ok(0) => {}
            Ok(swept) => {
                tracing::info!(
                    event = "sweep.finished",
                    count = swept,
                    "removed the entries of sockets that closed without running a hook",
                );
                self.retry();
            }
            Err(error) => tracing::warn!(
                event = "sweep.failed",
                %error,
                "cannot remove the entries of sockets that closed without running a hook",
            ),
        }
    }

    /// Tells the programs whether anybody reads their events.
    pub fn set_events_read(&mut self, is_read: bool) {
        self.tables.set_events_read(is_read);
    }

    /// What the tables contain for outlier detection.
    pub const fn ejections(&mut self) -> Ejections<'_, B> {
        self.tables.ejections()
    }

    /// From now on there is a packet path: see [`Tables::begin_nat`].
    pub fn begin_nat(&mut self, begin: impl FnOnce(&mut B)) -> io::Result<()> {
        self.tables.begin_nat(begin)
    }

    /// Repairs the NAT maps of netfilter: see [`Tables::repair_nat_from`].
    pub fn repair_nat_from(&mut self, found: &[(u32, SocketAddr)]) -> usize {
        self.tables.repair_nat_from(found)
    }

    /// Checks the next portion of the tables: see [`Tables::check`].
    pub fn check(&mut self, check: &mut Check) -> Option<Drift> {
        self.tables.check(check)
    }

    #[must_use]
    pub const fn graces(&self) -> &Graces {
        &self.graces
    }

    /// How long connections to stopped backends go on.
    #[must_use]
    pub const fn grace_rules(&self) -> GraceRules<'_, B> {
        GraceRules::new(&self.graces, &self.policy, &self.tables)
    }

    #[must_use]
    pub const fn tables(&self) -> &Tables<B> {
        &self.tables
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tables.counts()
    }

    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    #[must_use]
    pub const fn node_ports(&self) -> &NodePorts {
        &self.node_ports
    }

    /// The backends that are starting.
    #[must_use]
    pub const fn slow_start(&self) -> &SlowStart {
        &self.slow_start
    }

    /// The service ports that the tables could not take.
    #[must_use]
    pub const fn refused_ports(&self) -> &RefusedPorts {
        &self.refused
    }

    /// All problems, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .policy
            .problems()
            .cloned()
            .chain(self.problems_elsewhere())
            .chain(self.capacity.problems())
            .collect();
        problems.sort();
        problems
    }

    fn node_problem(&self) -> Option<Problem> {
        let is_missing = self.node_ports.lacks_primary();
        is_missing.then(|| policy::no_primary_address(&self.catalog))
    }

    /// The problems of objects that are not the policy's.
    pub fn problems_elsewhere(&self) -> impl Iterator<Item = Problem> {
        let known = self.source_problems.iter();
        let known = known.chain(self.health_checks.problems()).cloned();
        let refused = self.refused.problems(self.tables.headroom());
        known.chain(self.node_problem()).chain(refused)
    }

    /// The number of service ports that the tables could not take.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Tries again the service ports that did not fit, since there may be room now.
    fn retry(&mut self) {
        if self.refused.is_empty() {
            return;
        }
        let (changed, tried) = self.refused.take_fitting(self.tables.headroom());
        if !changed.is_empty() {
            let refused = self.tables.apply(Update {
                changed,
                ..Update::default()
            });
            self.refused.keep(refused, tried);
        }
        self.refused.log(self.tables.has_quarantined());
    }

    fn log_problems(&mut self) {
        self.refused.log(self.tables.has_quarantined());
        let lasting = self.source_problems.iter();
        let lasting = lasting.chain(self.policy.lasting_problems());
        let of_node = self.node_problem();
        let passing = self.policy.passing_problems().chain(&of_node);
        let lasting = lasting.map(|problem| (problem, false));
        self.problem_log
            .update(lasting.chain(passing.map(|problem| (problem, true))));
    }
}
