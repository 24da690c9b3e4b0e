//! The numbers of comparisons, of intended differences from kube-proxy, and of skipped comparisons, by reason.

use std::collections::BTreeMap;
use std::fmt;

/// Intended differences: the expectation is translated, not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    RefusedWithoutLocalEndpoints,
    RefusedUnknownPort,
    RefusedUnallocated,
    NodePortOnLoopback,
    PodsAreKnown,
    LeftToThePacketPath,
    OneKindForAnAddress,
    UselessEndpoint,
    NothingToDo,
    AskedFromTheNode,
}

impl Difference {
    pub const ALL: [Self; 10] = [
        Self::RefusedWithoutLocalEndpoints,
        Self::RefusedUnknownPort,
        Self::RefusedUnallocated,
        Self::NodePortOnLoopback,
        Self::PodsAreKnown,
        Self::LeftToThePacketPath,
        Self::OneKindForAnAddress,
        Self::UselessEndpoint,
        Self::NothingToDo,
        Self::AskedFromTheNode,
    ];

    const fn reason(self) -> &'static str {
        match self {
            Self::RefusedWithoutLocalEndpoints => {
                "a Local policy without local endpoints drops packets; a connect is refused at once"
            }
            Self::RefusedUnknownPort => {
                "a port that a ClusterIP does not have is left alone in iptables mode; here it is refused, as in nftables mode"
            }
            Self::RefusedUnallocated => {
                "packets to an address of the Service CIDR that no Service has are dropped; with --refuse-unknown a connect is refused"
            }
            Self::NodePortOnLoopback => {
                "whether NodePorts answer on loopback depends on kube-proxy's mode and flags; here they do, for the host's processes"
            }
            Self::PodsAreKnown => {
                "kube-proxy without a detector takes pods for strangers; who connects through a hook is on the node"
            }
            Self::LeftToThePacketPath => {
                "kube-proxy filters by loadBalancerSourceRanges; here such a LoadBalancer IP is no frontend"
            }
            Self::OneKindForAnAddress => {
                "an address that is external IP and LoadBalancer IP at once is one frontend"
            }
            Self::UselessEndpoint => {
                "an endpoint that is neither a choice nor serving is no backend"
            }
            Self::NothingToDo => {
                "conditions that change neither a choice nor what serves are a change for kube-proxy alone"
            }
            Self::AskedFromTheNode => {
                "the rule does not look at who asks, so a client on the node stands for one elsewhere"
            }
        }
    }
}

/// Comparisons without a meaning for clients on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    OffNodeClient,
    Sctp,
    HealthCheckNodePort,
    Masquerade,
}

impl LeftOut {
    pub const ALL: [Self; 4] = [
        Self::OffNodeClient,
        Self::Sctp,
        Self::HealthCheckNodePort,
        Self::Masquerade,
    ];

    const fn reason(self) -> &'static str {
        match self {
            Self::OffNodeClient => "packets of clients elsewhere meet no socket hook of this node",
            Self::Sctp => "SCTP has no socket hook",
            Self::HealthCheckNodePort => "the policy answers no health checks of load balancers",
            Self::Masquerade => {
                "the socket itself goes to the endpoint: nothing is masqueraded on the way"
            }
        }
    }
}

/// The comparisons of one case, or of all.
#[derive(Debug, Default)]
pub struct Tally {
    pub compared: usize,
    pub differences: BTreeMap<Difference, usize>,
    pub left_out: BTreeMap<LeftOut, usize>,
    pub failures: Vec<String>,
}

impl Tally {
    /// `what` is only computed on a failure.
    pub fn compare<T: fmt::Debug + PartialEq>(
        &mut self,
        what: impl FnOnce() -> String,
        expected: &T,
        found: &T,
    ) {
        self.compared += 1;
        if expected != found {
            let what = what();
            self.failures.push(format!(
                "{what}\n    expected {expected:?}\n    found    {found:?}"
            ));
        }
    }

    pub fn differ(&mut self, difference: Difference) {
        *self.differences.entry(difference).or_default() += 1;
    }

    pub fn leave_out(&mut self, what: LeftOut) {
        *self.left_out.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.compared += other.compared;
        for (difference, times) in other.differences {
            *self.differences.entry(difference).or_default() += times;
        }
        for (what, times) in other.left_out {
            *self.left_out.entry(what).or_default() += times;
        }
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:6} compared; of these, expected otherwise:",
            self.compared
        )?;
        for (difference, times) in &self.differences {
            writeln!(f, "{times:6}   {}", difference.reason())?;
        }
        writeln!(f, "       left out:")?;
        for (what, times) in &self.left_out {
            writeln!(f, "{times:6}   {}", what.reason())?;
        }
        Ok(())
    }
}
