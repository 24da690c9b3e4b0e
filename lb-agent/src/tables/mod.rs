//! The tables: what they contain ([`model`]), what has to be stored so that they contain what the policy wants ([`plan`]), and
//! the stores themselves ([`write`]). Knows no kernel: see [`Backing`].
//!
//! The tables are the only state that outlives the agent: [`model::read`] finds everything else in them.

mod affinity;
mod backing;
mod cells;
mod compare;
mod drift;
mod dump;
mod ejection;
mod encode;
mod entries;
mod headroom;
mod listed;
mod metrics;
mod model;
mod plan;
mod role;
mod roll_out;
mod service_ports;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "the fuzzer needs some of it"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use lb_common::config::{EVENTS_READ, FAIL_OPEN_AT, HOST_NETNS};

pub use self::affinity::ClientAffinity;
pub use self::backing::{Backing, Copies, Elements, Part, ReadTables, SourcePrefix, Table, Usage};
pub use self::compare::{BackendFound, Comparison, Difference, ElementFound, ViewFound};
pub use self::drift::{Check, Drift};
pub use self::dump::dump;
pub use self::ejection::{Ejections, WatchedBackend};
pub use self::encode::socket_address;
pub use self::entries::{Named, PairAddresses, Stale, addresses, connections_to, has_stopped};
pub use self::headroom::Headroom;
pub use self::listed::{BackendCounters, ListedFrontend};
pub use self::metrics::{Counts, TableMetrics};
use self::model::Model;
pub use self::model::Stops;
pub use self::plan::{ApplyError, Refused};
use self::plan::{Plan, Rollout, Step};
use self::roll_out::roll_out;
pub use self::service_ports::ServicePortCounts;
use crate::policy::{Frontend, ServicePort, ServicePortKey, Update};

/// Tables and their model.
#[derive(Debug)]
pub struct Tables<B> {
    backing: B,
    model: Model,
    /// Empty between two calls; kept for its capacity.
    plan: Plan,
}

impl<B: Backing> Tables<B> {
    /// Takes over tables, empty or not. A grace period must have passed since the last agent ended.
    ///
    /// Errors: FRONTENDS, ORIGINS or SPILL cannot be read, or FRONTENDS cannot be written.
    pub fn recover(mut backing: B) -> io::Result<Self> {
        let found = model::read(&backing)?;
        let mut plan = plan::clear_found(&found);
        let mut model = found.model;
        model.has_nat = backing.has_nat();
        if !found.strays.is_empty() {
            let count = found.strays.len();
            tracing::warn!(
                event = "tables.strays_removed",
                count,
                "removing invalid elements of FRONTENDS",
            );
        }
        plan::prefixes(&model, &mut plan);
        for step in plan.drain(..) {
            write::write(&mut backing, &mut model, step)?;
        }
        model.ended = service_ports::counted_before(&backing, &model);
        let mut tables = Self {
            backing,
            model,
            plan,
        };
        tables.repair_nat()?;
        Ok(tables)
    }

    /// From now on there is a packet path: `begin` gives the backing its NAT maps, which then get all elements.
    ///
    /// Errors: netfilter cannot be read.
    pub fn begin_nat(&mut self, begin: impl FnOnce(&mut B)) -> io::Result<()> {
        begin(&mut self.backing);
        self.model.has_nat = self.backing.has_nat();
        self.repair_nat()?;
        Ok(())
    }

    /// Compares the NAT maps with the model, and repairs them. Returns how many elements differed.
    ///
    /// Errors: netfilter cannot be read.
    pub fn repair_nat(&mut self) -> io::Result<usize> {
        let Some(found) = self.backing.nat()? else {
            return Ok(0);
        };
        Ok(self.repair_nat_from(&found))
    }

    /// As [`Self::repair_nat`], with the elements of the NAT maps as they were read. An element that changed since may be put
    /// again, which changes nothing.
    pub fn repair_nat_from(&mut self, found: &[(u32, SocketAddr)]) -> usize {
        self.model.is_nat_stale = false;
        let differing = plan::repair_nat(&self.model, found, &mut self.plan);
        self.write_words();
        differing
    }

    /// How many stores in the NAT maps there were, so that a reader on another thread can tell whether they changed meanwhile.
    #[must_use]
    pub const fn nat_stores(&self) -> u64 {
        self.model.nat_stores
    }

    /// Whether a store in the NAT maps has failed since they were compared with the model.
    #[must_use]
    pub const fn is_nat_stale(&self) -> bool {
        self.model.is_nat_stale
    }

    /// Reports the settings of the packet path to the programs.
    pub fn set_packet_path(&mut self, cluster_cidrs: &[IpNet], masquerades_all: bool) {
        plan::packet_path(&self.model, cluster_cidrs, masquerades_all, &mut self.plan);
        self.write_words();
    }

    /// Brings an update into the tables. Returns what they could not take, to be tried again when there is room.
    pub fn apply(&mut self, update: Update) -> Vec<Refused> {
        let rollout = Rollout::of(update, &mut self.model);
        self.roll_out(rollout)
    }

    /// Every source has listed once: removes what an earlier agent left and no object asks for.
    pub fn settle(&mut self) {
        let rollout = Rollout::of_orphans(&mut self.model);
        self.roll_out(rollout);
    }

    fn roll_out(&mut self, rollout: Rollout) -> Vec<Refused> {
        roll_out(
            &mut self.backing,
            &mut self.model,
            rollout,
            &mut self.plan,
            |_| {},
        )
    }

    /// Refuses addresses in these Service CIDRs that no Service has; none: refuses nothing.
    ///
    /// To be called with CIDRs only while all Services are known.
    pub fn refuse_unknown(&mut self, service_cidrs: &[IpNet]) {
        plan::refuse_unknown(&mut self.model, service_cidrs, &mut self.plan);
        self.write_words();
    }

    /// Reports the host's network namespace to the programs (SO_NETNS_COOKIE).
    pub fn set_host_network(&mut self, cookie: u64) {
        self.plan
            .extend(plan::config_word(&self.model, HOST_NETNS, cookie));
        self.write_words();
    }

    /// From when on the programs pass connects and sends unchanged, in ns of CLOCK_MONOTONIC; 0: never.
    pub fn set_fail_open_at(&mut self, at: u64) {
        self.plan
            .extend(plan::config_word(&self.model, FAIL_OPEN_AT, at));
        self.write_words();
    }

    /// Stores of words never fail.
    fn write_words(&mut self) {
        for step in self.plan.drain(..) {
            if let Err(error) = write::write(&mut self.backing, &mut self.model, step) {
                tracing::error!(event = "tables.word_not_written", %error, "cannot write a word");
            }
        }
    }

    /// Compares the next portion of the tables with the model: see [`Check::run`].
    pub fn check(&mut self, check: &mut Check) -> Option<Drift> {
        check.run(&mut self.backing, &mut self.model)
    }

    /// Whether to wait for a grace period now. If so, call [`Self::end_grace`] when all programs that run now have ended.
    #[must_use]
    pub fn begin_grace(&mut self) -> bool {
        self.model.quarantine.begin_grace()
    }

    /// No program that ran at [`Self::begin_grace`] runs any more.
    pub fn end_grace(&mut self) {
        self.model.end_grace();
        self.free_unnamed();
    }

    /// Frees the ids that no entry of a socket names any more.
    pub fn free_unnamed(&mut self) {
        let backends = entries::free_unnamed(&self.backing, &mut self.model);
        if self.model.has_nat && !backends.is_empty() {
            self.plan.push(Step::RemoveNat(backends));
            self.write_words();
        }
    }

    /// Whether anything was freed that cannot be used yet.
    #[must_use]
    pub fn has_quarantined(&self) -> bool {
        !self.model.quarantine.is_empty()
    }

    /// The backend ids that are quarantined.
    pub fn quarantined_backends(&self) -> impl Iterator<Item = u32> {
        self.model.quarantine.backends()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let ports = self.model.ports.values();
        Counts {
            service_ports: self.model.ports.len(),
            frontends: self.model.frontends.len(),
            backends: ports.map(|port| port.backends.len()).sum(),
            quarantined: self.model.quarantine.len(),
        }
    }

    /// The service ports that were asked for, in no order.
    pub fn service_ports(&self) -> impl Iterator<Item = &ServicePortKey> {
        self.model.ids.keys()
    }

    /// All backends of the service ports that were asked for, in no order.
    pub fn backends(&self) -> impl Iterator<Item = BackendCounters<'_>> {
        self.service_ports().flat_map(|port| self.backends_of(port))
    }

    /// The backends of a service port, sorted by address.
    pub fn backends_of<'a>(
        &'a self,
        port: &'a ServicePortKey,
    ) -> impl Iterator<Item = BackendCounters<'a>> {
        listed::backends_of(&self.backing, &self.model, port)
    }

    /// The frontends of a service port, in no order.
    pub fn frontends_of(&self, port: &ServicePortKey) -> impl Iterator<Item = ListedFrontend> {
        listed::frontends_of(&self.model, port)
    }

    /// The service ports that were asked for, with what was counted of them, in no order.
    pub fn port_counts(&self) -> impl Iterator<Item = ServicePortCounts<'_>> {
        service_ports::counts(&self.backing, &self.model)
    }

    /// What was counted of a service port.
    #[must_use]
    pub fn counts_of(&self, port: &ServicePortKey) -> Option<ServicePortCounts<'_>> {
        service_ports::counts_of(&self.backing, &self.model, port)
    }

    /// The address of the backend with this id, or of the last one that had it. None if there is no such id.
    #[must_use]
    pub fn backend_address(&self, id: u32) -> Option<SocketAddr> {
        service_ports::backend_address(&self.backing, id)
    }

    /// Whether this is the id of a service port in the tables.
    #[must_use]
    pub fn has_service_port(&self, id: u32) -> bool {
        self.model.ports.contains_key(&id)
    }

    /// What the tables contain for outlier detection.
    pub const fn ejections(&mut self) -> Ejections<'_, B> {
        let Self { backing, model, .. } = self;
        Ejections { backing, model }
    }

    /// Tells the programs whether anybody reads EVENTS.
    pub fn set_events_read(&mut self, is_read: bool) {
        let step = plan::config_word(&self.model, EVENTS_READ, u64::from(is_read));
        self.plan.extend(step);
        self.write_words();
    }

    /// What the tables contain for a frontend, beside what is wanted.
    ///
    /// `port`: with NodePorts on the node's addresses. Errors: FRONTENDS cannot be read.
    pub fn compare(&self, port: &ServicePort, frontend: &Frontend) -> io::Result<Comparison> {
        compare::compare(&self.backing, &self.model, port, frontend)
    }

    /// Whether the ports that a ClusterIP does not have are refused.
    ///
    /// Errors: FRONTENDS cannot be read.
    pub fn is_guarded(&self, address: IpAddr) -> io::Result<bool> {
        compare::is_guarded(&self.backing, address)
    }

    /// The backend that a client of a service port has by session affinity, whether it still holds or not.
    ///
    /// `client`: as in [`lb_common::affinity::AffinityKey`]. Errors: AFFINITY cannot be read.
    pub fn affinity(
        &self,
        port: &ServicePortKey,
        client: u64,
    ) -> io::Result<Option<ClientAffinity>> {
        affinity::affinity(&self.backing, &self.model, port, client)
    }

    /// The host's network namespace (SO_NETNS_COOKIE); 0: not reported yet.
    #[must_use]
    pub fn host_network(&self) -> u64 {
        let word = usize::try_from(HOST_NETNS).unwrap_or_default();
        self.model.config.get(word).copied().unwrap_or_default()
    }

    /// How full the tables are in which the agent gives out elements.
    #[must_use]
    pub fn usage(&self) -> [Usage; 5] {
        headroom::usage(&self.backing, &self.model)
    }

    /// What can still be given out.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        headroom::headroom(&self.model)
    }

    /// How full ORIGINS and SPILL are: reads all of ORIGINS.
    #[must_use]
    pub fn entries_in_use(&self) -> [Usage; 2] {
        self.backing.entries_in_use()
    }

    /// The cookies of all sockets that have an entry in ORIGINS or SPILL.
    pub fn cookies(&self) -> io::Result<HashSet<u64>> {
        entries::cookies(&self.backing)
    }

    /// Removes the entries of sockets that were closed. Returns how many there were.
    pub fn sweep(&mut self, closed: &HashSet<u64>) -> io::Result<usize> {
        if closed.is_empty() {
            return Ok(0);
        }
        let swept = self.backing.clear_entries(closed)?;
        self.free_unnamed();
        Ok(swept)
    }

    #[must_use]
    pub const fn stops(&self) -> Stops {
        self.model.stops
    }

    /// The UDP sockets, and if wanted the TCP sockets, whose backends have stopped serving. Reads all of ORIGINS and SPILL.
    pub fn stale(&self, wants_tcp: bool) -> io::Result<Vec<Stale>> {
        entries::stale(&self.backing, wants_tcp)
    }

    /// The service ports that were asked for, by id.
    #[must_use]
    pub fn names(&self) -> HashMap<u32, ServicePortKey> {
        let ids = self.model.ids.iter();
        ids.map(|(key, id)| (*id, key.clone())).collect()
    }

    #[must_use]
    pub const fn backing(&self) -> &B {
        &self.backing
    }
}
