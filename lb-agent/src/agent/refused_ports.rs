//! Service ports that the tables could not take: how they are logged, and when they are tried again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::capacity;
use crate::policy::{Problem, ServicePort, ServicePortKey, Update};
use crate::tables::{ApplyError, Headroom, Refused};

/// While something is in quarantine, a service port that does not fit is tried again as soon as the quarantine ends.
/// The log waits for that.
const LOG_AFTER: Duration = Duration::from_secs(2);

/// All refused service ports, by key.
#[derive(Debug, Default)]
pub struct RefusedPorts(BTreeMap<ServicePortKey, Waiting>);

#[derive(Debug)]
struct Waiting {
    refused: Refused,
    since: Since,
}

/// Since when a service port waits, and whether that was logged.
#[derive(Clone, Copy, Debug)]
struct Since {
    at: Instant,
    is_logged: bool,
}

/// Service ports that the tables try again.
#[derive(Debug, Default)]
#[must_use]
pub struct RetriedPorts(Vec<(ServicePortKey, Problem, Since)>);

impl RefusedPorts {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the service ports that the update changes or removes, since the reason of the refusal may no longer
    /// apply.
    pub fn forget(&mut self, update: &Update) -> RetriedPorts {
        if self.is_empty() {
            return RetriedPorts::default();
        }
        let changed = update.changed.iter().map(|port| &port.key);
        let keys = changed.chain(&update.removed);
        let removed = keys.filter_map(|key| self.0.remove_entry(key));
        RetriedPorts(removed.map(|(key, waiting)| waiting.tried(key).1).collect())
    }

    /// Takes the service ports that may fit now, those of the oldest Services first, up to the free room. Costs little
    /// while there is no room.
    pub fn take_fitting(&mut self, room: Headroom) -> (Vec<ServicePort>, RetriedPorts) {
        let fits = |waiting: &&Waiting| {
            let mut room = room;
            room.take(&waiting.refused.error)
        };
        let mut fitting: Vec<&Waiting> = self.0.values().filter(fits).collect();
        fitting.sort_by_key(|waiting| waiting.refused.port.seniority());
        let mut room = room;
        fitting.retain(|waiting| room.take(&waiting.refused.error));
        let keys: Vec<ServicePortKey> = fitting
            .into_iter()
            .map(|waiting| waiting.refused.port.key.clone())
            .collect();
        let taken = keys.iter().filter_map(|key| self.0.remove_entry(key));
        let (ports, tried) = taken.map(|(key, waiting)| waiting.tried(key)).unzip();
        (ports, RetriedPorts(tried))
    }

    /// Stores the service ports that the tables refused. A service port in `tried` that is not among them is resolved.
    pub fn keep(&mut self, refused: Vec<Refused>, tried: RetriedPorts) {
        let now = Since {
            at: Instant::now(),
            is_logged: false,
        };
        for refused in refused {
            let key = refused.port.key.clone();
            let waiting = Waiting {
                refused,
                since: now,
            };
            self.0.insert(key, waiting);
        }
        for (key, problem, since) in tried.0 {
            match self.0.get_mut(&key) {
                Some(waiting) => waiting.since = since,
                None if since.is_logged => tracing::info!(
                    event = "service_port.accepted",
                    service_port = %key,
                    problem = problem.message,
                    "a service port that did not fit is in the tables now",
                ),
                None => {}
            }
        }
    }

    /// Logs each once.
    ///
    /// `may_fit_soon`: something is in quarantine.
    pub fn log(&mut self, may_fit_soon: bool) {
        for waiting in self.0.values_mut() {
            let since = &mut waiting.since;
            if since.is_logged || may_fit_soon && since.at.elapsed() < LOG_AFTER {
                continue;
            }
            since.is_logged = true;
            let problem = waiting.refused.problem();
            tracing::warn!(
                event = "service_port.refused",
                service_port = %waiting.refused.port.key,
                problem = problem.message,
                "a service port does not fit into the tables",
            );
        }
    }

    /// Why a service port waits.
    pub fn problem_of(&self, key: &ServicePortKey) -> Option<Problem> {
        self.0.get(key).map(|waiting| waiting.refused.problem())
    }

    /// `room`: the free room in the tables.
    pub fn problems(&self, room: Headroom) -> impl Iterator<Item = Problem> {
        self.0
            .values()
            .map(move |Waiting { refused, .. }| match refused.error {
                ApplyError::Full { table, needed, .. } => refused.problem_of(&ApplyError::Full {
                    table,
                    needed,
                    left: room.left(table),
                }),
                ApplyError::Frontends(_) => refused.problem(),
            })
    }
}

impl Waiting {
    fn tried(self, key: ServicePortKey) -> (ServicePort, (ServicePortKey, Problem, Since)) {
        let problem = self.refused.problem();
        (self.refused.port, (key, problem, self.since))
    }
}

impl Refused {
    fn problem(&self) -> Problem {
        self.problem_of(&self.error)
    }

    fn problem_of(&self, error: &ApplyError) -> Problem {
        let key = &self.port.key;
        let state = match self.is_in_effect {
            true => "is not in effect as it is now",
            false => "is not balanced",
        };
        let remedy = match error {
            ApplyError::Full { table, .. } => {
                format!("; {} makes it larger", capacity::flag(table.name()))
            }
            ApplyError::Frontends(_) => String::new(),
        };
        Problem {
            object: format!("Service {}/{}", key.namespace, key.name),
            message: format!(
                "port {:?} ({}, {}) {state}: {}{remedy}",
                key.port, key.protocol, key.family, error
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Table;
    use crate::tables::testing::world::port;

    fn refused(number: u8, created: Option<&str>, table: Table, needed: usize) -> Refused {
        let mut port = port(number, Vec::new());
        port.created = created.map(|time| time.parse().expect("a time"));
        Refused {
            port,
            error: ApplyError::Full {
                table,
                needed,
                left: 0,
            },
            is_in_effect: false,
        }
    }

    fn names(ports: &[ServicePort]) -> Vec<&str> {
        ports.iter().map(|port| &*port.key.name).collect()
    }

    #[test]
    fn the_oldest_ports_that_fit_are_retried() {
        let mut waiting = RefusedPorts::default();
        let all = vec![
            refused(1, None, Table::Backends, 2),
            refused(2, Some("2026-03-01T00:00:00Z"), Table::Backends, 2),
            refused(3, Some("2026-01-01T00:00:00Z"), Table::Backends, 3),
            refused(4, Some("2026-02-01T00:00:00Z"), Table::Backends, 9),
            refused(5, Some("2026-01-01T00:00:00Z"), Table::Views, 1),
        ];
        waiting.keep(all, RetriedPorts::default());
        let (none, _) = waiting.take_fitting(Headroom::default());
        assert!(none.is_empty());
        let room = Headroom {
            backends: 6,
            ..Headroom::default()
        };
        let (some, tried) = waiting.take_fitting(room);
        assert_eq!(names(&some), ["service-3", "service-2"]);
        assert_eq!(waiting.len(), 3);
        waiting.keep(vec![refused(2, None, Table::Slots, 5)], tried);
        assert_eq!(waiting.len(), 4);
    }

    #[test]
    fn a_problem_names_the_service_the_table_and_the_flag() {
        let mut refused = refused(1, None, Table::Backends, 2);
        assert_eq!(
            refused.problem().to_string(),
            "Service default/service-1: port \"\" (TCP, IPv4) is not balanced: BACKENDS is full: 2 needed, 0 left; \
             --max-endpoints makes it larger"
        );
        refused.is_in_effect = true;
        assert!(
            refused
                .problem()
                .message
                .contains("is not in effect as it is now")
        );
    }

    #[test]
    fn a_failed_retry_is_not_logged_again() {
        let mut waiting = RefusedPorts::default();
        waiting.keep(
            vec![refused(1, None, Table::Backends, 1)],
            RetriedPorts::default(),
        );
        waiting.log(true);
        let is_logged = |waiting: &RefusedPorts| waiting.0.values().all(|w| w.since.is_logged);
        assert!(!is_logged(&waiting));
        waiting.log(false);
        assert!(is_logged(&waiting));
        let room = Headroom {
            backends: 1,
            ..Headroom::default()
        };
        let (ports, tried) = waiting.take_fitting(room);
        assert_eq!(ports.len(), 1);
        waiting.keep(vec![refused(1, None, Table::Slots, 3)], tried);
        assert!(is_logged(&waiting));
    }
}
