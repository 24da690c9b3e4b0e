//! The annotation `socklb.dev/spill-over` of a Service: how many of its connections go where hints do not send them.
//!
//! Hints keep connections in a node's zone, however few of the zone's endpoints are left. As with Envoy's overprovisioning
//! factor, the part of the zone's endpoints that is ready, times a factor, is the share of connections that stays.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use super::endpoints::EndpointCandidate;
use super::report::Report;
use super::service_port::SpillOver;
use super::topology::{LocalPolicies, NodeLocation, Rule};
use crate::catalog::Service;

/// In thousandths.
const ONE: u64 = 1_000;
/// The largest factor.
const MOST: u64 = 10 * ONE;
/// The shares may differ from the exact ones by one connection in so many, so that small weights represent them.
const TOLERANCE: u128 = 200;
/// The slots that every view may have (`tables/plan/slots.rs`); or eight for each backend, if that is more.
const SLOTS: u64 = 1_024;
const SLOTS_OF_EACH: u64 = 8;

/// The factor, in thousandths; none: nothing spills over.
pub(super) fn factor_of(service: &Service, report: &mut Report<'_>) -> Option<u64> {
    let text = service.metadata.annotations.spill_over.as_deref()?;
    let factor = parse(text);
    if factor.is_none() {
        report.add(format!(
            "annotation socklb.dev/spill-over {text:?}: write 1 to 10, with three decimals at most, like 1.4; nothing spills over"
        ));
    }
    factor
}

fn parse(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok()?;
    (ONE..=MOST).contains(&thousandths).then_some(thousandths)
}

/// How the connections of a service port are split, by weights.
#[derive(Clone, Debug)]
pub(super) struct Split<'a> {
    rule: Rule,
    location: NodeLocation<'a>,
    spill_over: SpillOver,
    /// How many times the weights of the endpoints count that hints select.
    stay: u64,
    /// The same of the others.
    leave: u64,
    /// Weights are divided by it, so that the largest one has 16 bits.
    divisor: u64,
}

impl<'a> Split<'a> {
    /// None: all connections go where the rule sends them.
    ///
    /// `factor`: in thousandths.
    pub(super) fn of(
        factor: u64,
        rule: Rule,
        location: NodeLocation<'a>,
        local: LocalPolicies,
        candidates: &[EndpointCandidate<'_>],
    ) -> Option<Self> {
        if (local.internal || local.external) && mixes(rule, location, candidates) {
            return None;
        }
        let sum = |of: fn(Rule, NodeLocation<'_>, &EndpointCandidate<'_>) -> bool| -> u64 {
            let counted = candidates.iter().filter(|c| of(rule, location, c));
            counted.map(|candidate| u64::from(candidate.weight)).sum()
        };
        let selected = sum(Rule::selects);
        // `enough` of `all` connections stay.
        let enough = selected * factor;
        let all = (selected + sum(Rule::misses)) * ONE;
        if enough >= all {
            return None;
        }
        let others = candidates
            .iter()
            .filter(|of| rule.passes_over(location, of));
        let others = few_enough(location, others.collect(), all - enough, all);
        let others_weight: u64 = others.iter().map(|of| u64::from(of.weight)).sum();
        if others_weight == 0 {
            return None;
        }
        let percent = ((all - enough) * 100 + all / 2) / all;
        let ready = candidates.iter().filter(|of| rule.selects(location, of));
        let weights = ready
            .chain(others.iter().copied())
            .map(|of| u64::from(of.weight));
        let (number, lightest) = weights.fold((0, u64::MAX), |(number, lightest), weight| {
            (number + 1, weight.min(lightest))
        });
        let room = SLOTS.max(SLOTS_OF_EACH * number) * lightest;
        let (stay, leave) = multiples(selected, others_weight, enough, all, room);
        let mut to: Vec<SocketAddr> = others.iter().map(|of| of.address).collect();
        to.sort_unstable();
        let mut split = Self {
            rule,
            location,
            spill_over: SpillOver {
                percent: u8::try_from(percent).unwrap_or(99).clamp(1, 99),
                to,
            },
            stay,
            leave,
            divisor: 1,
        };
        let multiples = candidates.iter().filter_map(|of| split.multiple(of));
        let largest = multiples.max().unwrap_or_default();
        split.divisor = largest.div_ceil(u16::MAX.into()).max(1);
        Some(split)
    }

    /// Whether the endpoint gets connections only because they spill over.
    pub(super) fn spills_to(&self, candidate: &EndpointCandidate<'_>) -> bool {
        let to = &self.spill_over.to;
        to.binary_search(&candidate.address).is_ok()
    }

    /// The weight that gives an endpoint its share.
    pub(super) fn weight(&self, candidate: &EndpointCandidate<'_>) -> u16 {
        let Some(multiple) = self.multiple(candidate) else {
            return candidate.weight;
        };
        let weight = (multiple + self.divisor / 2) / self.divisor;
        u16::try_from(weight).unwrap_or(u16::MAX).max(1)
    }

    pub(super) fn into_spill_over(self) -> SpillOver {
        self.spill_over
    }

    /// None: it takes no part. Those that are not among the few have the same multiple, for views of the policy Local.
    fn multiple(&self, candidate: &EndpointCandidate<'_>) -> Option<u64> {
        let times = if self.rule.selects(self.location, candidate) {
            self.stay
        } else if self.rule.passes_over(self.location, candidate) {
            self.leave
        } else {
            return None;
        };
        Some(u64::from(candidate.weight) * times)
    }
}

/// Whether a view of the policy Local would have endpoints that hints select, and others. Each endpoint has one weight in all
/// views, so that view's shares would be wrong.
fn mixes(rule: Rule, location: NodeLocation<'_>, candidates: &[EndpointCandidate<'_>]) -> bool {
    let local = Rule::of_local(location, candidates);
    let of_node = || candidates.iter().filter(|of| local.selects(location, of));
    of_node().any(|of| rule.selects(location, of))
        && of_node().any(|of| rule.passes_over(location, of))
}

/// Those that `spilling` of `all` connections go to. Each takes a slot at least: if so few connections were spread over all
/// endpoints, the view would have too many slots. Each node has others, chosen by a hash.
fn few_enough<'a, 'b>(
    location: NodeLocation<'_>,
    mut others: Vec<&'a EndpointCandidate<'b>>,
    spilling: u64,
    all: u64,
) -> Vec<&'a EndpointCandidate<'b>> {
    if spilling * SLOTS_OF_EACH < all {
        let most = usize::try_from(SLOTS * spilling / all).unwrap_or_default();
        others.sort_by_cached_key(|of| {
            let mut hash = DefaultHasher::new();
            (location.node_name, of.address).hash(&mut hash);
            hash.finish()
        });
        others.truncate(most.max(1));
    }
    others
}

/// How many times the weights on each side count, in small numbers: `enough` of `all` connections go to endpoints whose weights
/// have the sum `selected`, the rest to those with the sum `others`.
///
/// `room`: the products should have no larger sum, so that the view need not scale them.
fn multiples(selected: u64, others: u64, enough: u64, all: u64, room: u64) -> (u64, u64) {
    let [selected, others, enough, all] = [selected, others, enough, all].map(u128::from);
    // The exact ratio.
    let (stay, leave) = (enough * others, (all - enough) * selected);
    let pair = |smaller: u128| {
        let larger = |of: u128, by: u128| (of * smaller + by / 2) / by;
        match stay > leave {
            true => (larger(stay, leave), smaller),
            false => (smaller, larger(leave, stay)),
        }
    };
    let sum = |(stay, leave): (u128, u128)| stay * selected + leave * others;
    // In billionths of all connections.
    let error = |of: (u128, u128)| {
        let billion = 1_000_000_000;
        (of.0 * selected * billion / sum(of)).abs_diff(enough * billion / all)
    };
    let mut best = pair(1);
    for smaller in 2..=50 {
        if error(best) * TOLERANCE <= 1_000_000_000 {
            break;
        }
        let next = pair(smaller);
        if sum(next) <= room.into() && error(next) < error(best) {
            best = next;
        }
    }
    let word = |number: u128| u32::try_from(number).unwrap_or(u32::MAX).into();
    (word(best.0), word(best.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn factors_are_decimal_numbers() {
        for (text, factor) in [
            ("1", Some(1_000)),
            ("1.4", Some(1_400)),
            ("1.40", Some(1_400)),
            ("02.125", Some(2_125)),
            ("10.000", Some(10_000)),
            ("10.001", None),
            ("0.9", None),
            ("1.4000", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("+2", None),
            ("1e1", None),
            ("1,4", None),
            ("1.4.1", None),
            ("NaN", None),
            (" 2", None),
        ] {
            assert_eq!(parse(text), factor, "{text}");
        }
    }

    #[test]
    fn multiples_are_small() {
        // 70 % to two, 30 % to four.
        assert_eq!(multiples(2, 4, 2_800, 4_000, SLOTS), (14, 3));
        // Their products have the sum 40.
        assert_eq!(multiples(2, 4, 2_800, 4_000, 30), (9, 2));
        // Half to each of two, and to two heavier ones.
        assert_eq!(multiples(1, 1, 1, 2, SLOTS), (1, 1));
        assert_eq!(multiples(1_000, 3_000, 1, 2, SLOTS), (3, 1));
    }

    proptest! {
        #[test]
        fn shares_are_exact_to_half_a_percent(
            selected in 1..200_000_u64,
            others in 1..200_000_u64,
            enough in 1..1_000_u64,
        ) {
            let (stay, leave) = multiples(selected, others, enough, 1_000, u64::MAX);
            let (stay, leave) = ((stay * selected) as f64, (leave * others) as f64);
            let (is, wanted) = (stay / (stay + leave), enough as f64 / 1_000.0);
            prop_assert!((is - wanted).abs() <= 0.005, "{is} for {wanted}");
        }
    }
}
