//! Whether the tables still say what was written to them: looked at a portion at a time, and mended where they do not.
//!
//! Each portion compares what is there with what is known at that moment, so changes between two portions are no
//! difference. A word gets the value back that it had, so readers see the right choice sooner and never another wrong one; only
//! a run whose former cells are not known is replaced by a fresh one.

mod counts;
mod elements;
mod port;
mod report;

use std::io;

use lb_common::Address;
use lb_common::config::{self, MOST_SERVICE_CIDRS, SERVICE_CIDRS, service_cidr};

use self::counts::Counts;
pub use self::elements::Elements;
pub use self::report::Drift;
use self::report::Found;
use super::{Backing, Table, Tables};

/// How much a portion looks at, in words; a service port is never cut in two. Some hundred µs.
const PORTION: usize = 2_000;

/// A look at all tables, of which some may be done.
#[derive(Debug, Default)]
pub struct Check {
    step: Step,
    found: Found,
    counts: Counts,
}

/// What comes next, in the order that readers follow from the end.
#[derive(Debug, Default)]
enum Step {
    #[default]
    Config,
    Places,
    /// The ids that are left.
    Ports(Vec<u32>),
    /// After this address.
    Guards(Option<Address>),
    /// From this place of FRONTENDS.
    Elements(u32),
    /// From this place of what is kept beside it.
    Copies(u32),
    Done,
}

impl<B: Backing> Tables<B> {
    /// Looks at the next portion and mends what differs. Returns what there was when that was the last one; the check begins
    /// anew then.
    pub fn check(&mut self, check: &mut Check) -> Option<Drift> {
        let found = &mut check.found;
        check.step = match std::mem::take(&mut check.step) {
            Step::Config => {
                self.check_config(found);
                Step::Places
            }
            Step::Places => {
                let counted = check.counts.begin(&self.backing);
                found.note(counted);
                Step::Ports(self.ports.keys().copied().collect())
            }
            Step::Ports(mut ids) => {
                let mut looked = 0;
                while looked < PORTION
                    && let Some(id) = ids.pop()
                {
                    looked += self.check_port(id, found);
                    self.check_counts_of(id, &mut check.counts, found);
                }
                if ids.is_empty() {
                    self.check_counts_of_resting(&mut check.counts, found);
                    Step::Guards(None)
                } else {
                    Step::Ports(ids)
                }
            }
            Step::Guards(after) => match self.check_guards(after, PORTION / 4, found) {
                Some(last) => Step::Guards(Some(last)),
                None => Step::Elements(0),
            },
            Step::Elements(place) => {
                let next = self.remove_unknown(place, found);
                found
                    .note(next)
                    .flatten()
                    .map_or(Step::Copies(0), Step::Elements)
            }
            Step::Copies(place) => self
                .prune_copies(place, found)
                .map_or(Step::Done, Step::Copies),
            Step::Done => Step::Done,
        };
        if !matches!(check.step, Step::Done) {
            return None;
        }
        check.step = Step::default();
        check.counts.end();
        Some(std::mem::take(&mut check.found).report(self))
    }

    /// The words of CONFIG. Those of the Service CIDRs are not in effect while one of them changes.
    fn check_config(&mut self, found: &mut Found) {
        let length = self.backing.length(Table::Config).min(config::WORDS);
        let mut of_cidrs = SERVICE_CIDRS..service_cidr(MOST_SERVICE_CIDRS).min(length);
        let backing = &mut self.backing;
        let differs =
            |word: &u32| backing.load(Table::Config, *word, 0) != self.config[*word as usize];
        if of_cidrs.any(|word| differs(&word)) {
            let number = backing.load(Table::Config, SERVICE_CIDRS, 0);
            if number != 0 {
                backing.store(Table::Config, SERVICE_CIDRS, 0, 0);
            }
            if number != self.config[SERVICE_CIDRS as usize] {
                found.add(Table::Config.name(), 1);
            }
        }
        // Its number of CIDRs comes last.
        for word in (0..length).rev() {
            let value = self.config[word as usize];
            if backing.load(Table::Config, word, 0) != value {
                backing.store(Table::Config, word, 0, value);
                if word != SERVICE_CIDRS {
                    found.add(Table::Config.name(), 1);
                }
            }
        }
    }
}

/// Something that cannot be read or written is noted, and the rest goes on.
impl Found {
    fn note<T>(&mut self, result: io::Result<T>) -> Option<T> {
        result.inspect_err(|error| self.fail(error)).ok()
    }
}
