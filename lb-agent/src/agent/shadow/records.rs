//! What was compared of each port of a Service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalog::Protocol;
use crate::policy::ServicePortKey;

/// Ports with differences that no Service has, or no longer, and are remembered.
const MOST_OTHERS: usize = 256;

/// A port of a Service, in both families.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId {
    /// "" if no Service of ours has the address.
    pub namespace: Arc<str>,
    /// The same.
    pub name: Arc<str>,
    /// The port's name; its number if the Service has no such port.
    pub port: Arc<str>,
    pub protocol: Protocol,
}

/// How a flow differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It went to an endpoint that we would not have chosen from.
    OtherEndpoint,
    /// It was not translated, and we would have.
    NotTranslated,
    /// It was translated, and we would have refused it: no backend.
    WouldBeRefused,
    /// It was translated, and no Service of ours has such an address and port.
    UnknownFrontend,
}

/// A flow that went elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub time: Timestamp,
    pub kind: Kind,
    pub client: SocketAddr,
    pub frontend: SocketAddr,
    /// `frontend` if it was not translated.
    pub endpoint: SocketAddr,
    /// Some of the backends that we would have chosen from.
    pub backends: Vec<SocketAddr>,
    /// How many there are.
    pub backend_count: usize,
}

/// The flows of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub same: u64,
    pub different: u64,
    pub first: Option<Difference>,
    pub last: Option<Difference>,
    /// A Service of ours has the port.
    is_known: bool,
}

/// The flows of all ports.
#[derive(Debug, Default)]
pub struct Records {
    ports: BTreeMap<PortId, Record>,
    /// Ports that no Service of ours has.
    others: usize,
    same: u64,
    different: u64,
}

impl PortId {
    pub fn of(key: &ServicePortKey) -> Self {
        Self {
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(&key.name),
            port: Arc::clone(&key.port),
            protocol: key.protocol,
        }
    }

    /// A port that no Service has.
    ///
    /// `owner`: a port of the Service that has the address; none: no Service has it.
    pub fn unknown(owner: Option<&ServicePortKey>, protocol: Protocol, number: u16) -> Self {
        match owner {
            Some(owner) => Self {
                port: number.to_string().into(),
                protocol,
                ..Self::of(owner)
            },
            None => Self {
                namespace: Arc::default(),
                name: Arc::default(),
                port: Arc::default(),
                protocol,
            },
        }
    }
}

impl Kind {
    /// The word in JSON and in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OtherEndpoint => "other-endpoint",
            Self::NotTranslated => "not-translated",
            Self::WouldBeRefused => "would-be-refused",
            Self::UnknownFrontend => "unknown-frontend",
        }
    }
}

impl Records {
    /// A Service has a port now.
    pub fn begin(&mut self, id: PortId) {
        let record = self.ports.entry(id).or_insert_with(|| {
            self.others += 1;
            Record::default()
        });
        if !std::mem::replace(&mut record.is_known, true) {
            self.others -= 1;
        }
    }

    /// No Service has a port any longer. It is remembered if there were differences.
    pub fn end(&mut self, id: &PortId) {
        let Some(record) = self.ports.get_mut(id).filter(|record| record.is_known) else {
            return;
        };
        record.is_known = false;
        self.others += 1;
        if record.different == 0 || self.others > MOST_OTHERS {
            self.ports.remove(id);
            self.others -= 1;
        }
    }

    pub fn count_same(&mut self, id: PortId) {
        self.same += 1;
        if let Some(record) = self.ports.get_mut(&id) {
            record.same += 1;
        }
    }

    /// Returns whether it is the first one of its Service.
    pub fn count_different(&mut self, id: &PortId, difference: &Difference) -> bool {
        self.different += 1;
        if !self.ports.contains_key(id) {
            if self.others >= MOST_OTHERS {
                return false;
            }
            self.others += 1;
            self.ports.insert(id.clone(), Record::default());
        }
        let Some(record) = self.ports.get_mut(id) else {
            return false;
        };
        record.different += 1;
        record.last = Some(difference.clone());
        if record.first.is_some() {
            return false;
        }
        record.first = Some(difference.clone());
        let mut ports = self.ports.iter().filter(|(_, record)| record.different > 0);
        !ports.any(|(other, _)| {
            other != id && (&other.namespace, &other.name) == (&id.namespace, &id.name)
        })
    }

    /// All ports, sorted.
    pub fn ports(&self) -> impl Iterator<Item = (&PortId, &Record)> {
        self.ports.iter()
    }

    /// The flows of all ports that went where they would have gone.
    pub const fn same(&self) -> u64 {
        self.same
    }

    /// Those that did not.
    pub const fn different(&self) -> u64 {
        self.different
    }
}
