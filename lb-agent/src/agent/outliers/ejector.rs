//! Which backends to eject, and for how long.
//!
//! The rules are those of Envoy's outlier detection for failed connections (`consecutive_local_origin_failure`), with a trial
//! connection in place of a plain return, since a backend of which nobody reports the health comes back only by being tried.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::outlier::TRIAL;

use crate::tables::{Backing, Ejections, WatchedBackend};

/// How long the first ejection lasts. Each further one in a row lasts twice as long as the one before.
const SHORTEST: Duration = Duration::from_secs(5);

const LONGEST: Duration = Duration::from_secs(5 * 60);

/// After this long without an ejection, the next one counts as the first.
const FORGET: Duration = Duration::from_secs(5 * 60);

/// A backend is readmitted without a trial if no connect has tried it for this long after its ejection ended.
const UNTRIED: Duration = Duration::from_secs(60);

/// Ejects backends of tables and takes them back.
#[derive(Debug)]
pub struct Ejector {
    /// How many connects in a row must fail.
    failures: u32,
    /// By the backend's id: those that are ejected, and those that were not long ago.
    known: HashMap<u32, Ejection>,
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    service_port: u32,
    address: SocketAddr,
    /// Ejections in a row.
    times: u32,
    /// The word that this agent has set, or a program since; 0: it is readmitted.
    until: u64,
    /// When it was ejected or readmitted last, in ns of CLOCK_MONOTONIC.
    since: u64,
}

/// What happened to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub service_port: u32,
    pub backend: u32,
    pub address: SocketAddr,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gets no connection for this long.
    Ejected {
        failures: u32,
        lasts: Duration,
    },
    /// The trial has failed: the same.
    TrialFailed {
        lasts: Duration,
    },
    Readmitted(Why),
}

/// Why a backend is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A connection to it was established, or did not fail in time.
    Trial,
    /// No connect has tried it for [`UNTRIED`].
    Untried,
    /// No backend of a view looks better.
    AllFail,
    /// More than half of a view's backends would be ejected, since others have gone.
    TooMany,
    /// Outlier detection was turned off for it, or it no longer gets connections.
    Off,
}

impl Decision {
    const fn about(service_port: u32, backend: &WatchedBackend, outcome: Outcome) -> Self {
        Self {
            service_port,
            backend: backend.id,
            address: backend.address,
            outcome,
        }
    }
}

impl Why {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Trial => "Trial",
            Self::Untried => "Untried",
            Self::AllFail => "AllFail",
            Self::TooMany => "TooMany",
            Self::Off => "Off",
        }
    }
}

impl Ejector {
    /// `failures`: how many connects in a row must fail.
    pub fn new(failures: u32) -> Self {
        Self {
            failures,
            known: HashMap::new(),
        }
    }

    /// Takes over what an earlier agent has ejected.
    ///
    /// `now`: here and below, in ns of CLOCK_MONOTONIC.
    pub fn adopt<B: Backing>(&mut self, tables: &Ejections<'_, B>, now: u64) {
        for (service_port, backend) in tables.ejected() {
            let ejection = Ejection {
                service_port,
                address: backend.address,
                times: 1,
                until: backend.ejected_until,
                since: now,
            };
            self.known.entry(backend.id).or_insert(ejection);
        }
    }

    /// The number of backends that are ejected now.
    #[must_use]
    pub fn ejected(&self) -> usize {
        let known = self.known.values();
        known.filter(|ejection| ejection.until != 0).count()
    }

    /// A connect to this backend has failed.
    pub fn suspect<B: Backing>(
        &mut self,
        tables: &mut Ejections<'_, B>,
        service_port: u32,
        id: u32,
        now: u64,
    ) -> Vec<Decision> {
        let backends = tables.watched(service_port);
        let Some(this) = backends.iter().find(|backend| backend.id == id) else {
            return Vec::new();
        };
        let known = self.known.get(&id).filter(|known| {
            known.address == this.address
                && (known.until != 0 || now.saturating_sub(known.since) < nanos(FORGET))
        });
        let times = known.map_or(1, |known| known.times.saturating_add(1));
        if this.ejected_until != 0 {
            // The program has set another time because the trial failed.
            let has_failed = known.is_none_or(|known| known.until != this.ejected_until);
            return match this.ejected_until & TRIAL == 0 && has_failed {
                true => self.eject(tables, service_port, this, times, now),
                false => Vec::new(),
            };
        }
        if this.failures < self.failures {
            return Vec::new();
        }
        if self.all_fail(&backends, this) {
            let mut decisions = Vec::new();
            for of in backends.iter().filter(|of| of.views & this.views != 0) {
                decisions.extend(self.readmit(tables, service_port, of, Why::AllFail, now));
            }
            return decisions;
        }
        if !may_eject(&backends, this) {
            return Vec::new();
        }
        self.eject(tables, service_port, this, times, now)
    }

    /// Notices what programs have changed, and corrects what no longer holds. Call it every second.
    pub fn tick<B: Backing>(&mut self, tables: &mut Ejections<'_, B>, now: u64) -> Vec<Decision> {
        self.known.retain(|_, ejection| {
            ejection.until != 0 || now.saturating_sub(ejection.since) < nanos(FORGET)
        });
        let ejected = self.known.iter().filter(|(_, of)| of.until != 0);
        let ejected: Vec<(u32, Ejection)> = ejected.map(|(id, of)| (*id, *of)).collect();
        let mut decisions = Vec::new();
        for (id, ejection) in ejected {
            let backends = tables.watched(ejection.service_port);
            let is_it = |of: &&WatchedBackend| of.id == id && of.address == ejection.address;
            decisions.extend(match backends.iter().find(is_it) {
                None => Some(self.let_go(tables, id, ejection)),
                Some(of) if of.ejected_until == 0 => {
                    Some(self.note_readmitted(ejection.service_port, of, Why::Trial, now))
                }
                Some(of) => why_readmit(&backends, of, now)
                    .and_then(|why| self.readmit(tables, ejection.service_port, of, why, now)),
            });
        }
        decisions
    }

    fn eject<B: Backing>(
        &mut self,
        tables: &mut Ejections<'_, B>,
        service_port: u32,
        backend: &WatchedBackend,
        times: u32,
        now: u64,
    ) -> Vec<Decision> {
        let lasts = duration(times);
        let until = now.saturating_add(nanos(lasts)) & !TRIAL;
        if !tables.eject(backend.id, backend.ejected_until, until) {
            // A program was faster. If a trial fails, it reports that.
            return Vec::new();
        }
        let ejection = Ejection {
            service_port,
            address: backend.address,
            times,
            until,
            since: now,
        };
        self.known.insert(backend.id, ejection);
        let outcome = match backend.ejected_until {
            0 => Outcome::Ejected {
                failures: backend.failures,
                lasts,
            },
            _ => Outcome::TrialFailed { lasts },
        };
        vec![Decision::about(service_port, backend, outcome)]
    }

    /// None if it is not ejected.
    fn readmit<B: Backing>(
        &mut self,
        tables: &mut Ejections<'_, B>,
        service_port: u32,
        backend: &WatchedBackend,
        why: Why,
        now: u64,
    ) -> Option<Decision> {
        if backend.ejected_until == 0 || !tables.eject(backend.id, backend.ejected_until, 0) {
            return None;
        }
        // If all fail, it still looks bad as soon as another one does not.
        if why != Why::AllFail {
            tables.forget_failures(backend.id);
        }
        Some(self.note_readmitted(service_port, backend, why, now))
    }

    fn note_readmitted(
        &mut self,
        service_port: u32,
        backend: &WatchedBackend,
        why: Why,
        now: u64,
    ) -> Decision {
        if let Some(ejection) = self.known.get_mut(&backend.id) {
            ejection.until = 0;
            ejection.since = now;
        }
        Decision::about(service_port, backend, Outcome::Readmitted(why))
    }

    /// Of a backend that is no longer watched, or is gone.
    fn let_go<B: Backing>(
        &mut self,
        tables: &mut Ejections<'_, B>,
        id: u32,
        ejection: Ejection,
    ) -> Decision {
        self.known.remove(&id);
        tables.let_go(id, ejection.address);
        Decision {
            service_port: ejection.service_port,
            backend: id,
            address: ejection.address,
            outcome: Outcome::Readmitted(Why::Off),
        }
    }

    /// Whether in one of its views every backend is ejected or looks as bad as this one.
    fn all_fail(&self, backends: &[WatchedBackend], this: &WatchedBackend) -> bool {
        views(this).any(|view| {
            let mut of_view = backends.iter().filter(|of| of.views & view != 0);
            of_view.all(|of| of.ejected_until != 0 || of.failures >= self.failures)
        })
    }
}

/// Whether with one more ejected backend at most half of each of its views is.
fn may_eject(backends: &[WatchedBackend], this: &WatchedBackend) -> bool {
    views(this).all(|view| {
        let (ejected, all) = ejected_in(backends, view);
        (ejected + 1) * 2 <= all
    })
}

/// Why an ejected backend should be used again.
fn why_readmit(backends: &[WatchedBackend], this: &WatchedBackend, now: u64) -> Option<Why> {
    let is_too_many = views(this).any(|view| {
        let (ejected, all) = ejected_in(backends, view);
        ejected * 2 > all
    });
    if is_too_many {
        return Some(Why::TooMany);
    }
    if this.ejected_until & TRIAL != 0 {
        return (now >= this.ejected_until).then_some(Why::Trial);
    }
    let since = now.saturating_sub(this.ejected_until);
    (since >= nanos(UNTRIED)).then_some(Why::Untried)
}

/// The number of ejected backends of a view, and of all.
fn ejected_in(backends: &[WatchedBackend], view: u64) -> (usize, usize) {
    let of_view = backends.iter().filter(|of| of.views & view != 0);
    let ejected = of_view.clone().filter(|of| of.ejected_until != 0).count();
    (ejected, of_view.count())
}

/// The bits of its views, one by one.
fn views(backend: &WatchedBackend) -> impl Iterator<Item = u64> + use<> {
    let views = backend.views;
    let bits = (0..u64::BITS).map(|bit| 1_u64 << bit);
    bits.filter(move |bit| views & bit != 0)
}

/// How long the ejection lasts that is this one in a row.
fn duration(times: u32) -> Duration {
    let doubled = times.saturating_sub(1).min(16);
    SHORTEST.saturating_mul(1 << doubled).min(LONGEST)
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
