//! The slots of a view.

use std::collections::BTreeMap;

use lb_common::view::algorithm::MAGLEV;

use super::super::model::HeldBackend;
use super::maglev;

/// The most slots of a view without a Maglev table, unless that is less than [`MOST_OF_EACH`] for each backend. Enough for
/// the exact shares of a weight of 1,000 beside a few small ones.
const MOST: u64 = 1_024;
const MOST_OF_EACH: u64 = 8;

/// The backend ids in a view's slots.
///
/// `algorithm`: one of [`lb_common::view::algorithm`]. `backends`: the view's, sorted by address. `length`: how many slots it
/// has now.
pub fn slots(algorithm: u32, backends: &[&HeldBackend], length: u32) -> Vec<u32> {
    if algorithm == MAGLEV {
        return maglev::slots(backends, length);
    }
    let weights = backends.iter().map(|backend| backend.weight.max(1).into());
    interleaved(backends, &shares(weights.collect()))
}

/// The number of slots for each of these weights: as few as possible, and one at least. If even these are too many, the shares
/// are only about right.
fn shares(weights: Vec<u64>) -> Vec<u64> {
    let shares = reduced(weights);
    let sum: u64 = shares.iter().sum();
    let most = MOST.max(MOST_OF_EACH * shares.len() as u64);
    if sum <= most {
        return shares;
    }
    let scaled = shares.iter().map(|share| (share * most + sum / 2) / sum);
    reduced(scaled.map(|share| share.max(1)).collect())
}

/// Divides by the greatest common divisor.
fn reduced(mut numbers: Vec<u64>) -> Vec<u64> {
    let divisor = numbers.iter().copied().fold(0, greatest_common_divisor);
    numbers.iter_mut().for_each(|number| *number /= divisor);
    numbers
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Each backend's slots are spread evenly, so that round-robin does not send it many connections in a row.
///
/// Backends with equal shares take turns in slots that are spread evenly: of n such slots, slot k is at (k + ½) / n of the run.
fn interleaved(backends: &[&HeldBackend], shares: &[u64]) -> Vec<u32> {
    let mut by_share: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (backend, share) in backends.iter().zip(shares) {
        by_share.entry(*share).or_default().push(backend.id);
    }
    let places = by_share.into_iter().rev().flat_map(|(share, ids)| {
        let number = share * ids.len() as u64;
        let odd = (0..number).map(|slot| 2 * slot + 1);
        let turns = ids.into_iter().cycle();
        odd.zip(turns).map(move |(place, id)| (place, number, id))
    });
    let mut places: Vec<(u64, u64, u32)> = places.collect();
    // Stable: of those at one place, the heavier ones come first.
    places.sort_by(|(a, of_a, _), (b, of_b, _)| (a * of_b).cmp(&(b * of_a)));
    places.into_iter().map(|(_, _, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::view::algorithm::{LEAST_CONN, RANDOM, ROUND_ROBIN};
    use proptest::prelude::*;

    use super::*;

    fn backends(weights: &[u16]) -> Vec<HeldBackend> {
        let backends = (1..).zip(weights).map(|(id, weight)| HeldBackend {
            address: ([10, 0, 0, 1], 80).into(),
            id,
            state: 1,
            weight: *weight,
        });
        backends.collect()
    }

    fn of(weights: &[u16]) -> Vec<u32> {
        let backends = backends(weights);
        let backends: Vec<&HeldBackend> = backends.iter().collect();
        let [first, others @ ..] =
            [RANDOM, LEAST_CONN, ROUND_ROBIN].map(|algorithm| slots(algorithm, &backends, 0));
        assert!(others.iter().all(|other| *other == first));
        first
    }

    fn share(slots: &[u32], of: u32) -> usize {
        slots.iter().filter(|&&id| id == of).count()
    }

    #[test]
    fn equal_weights_have_one_slot_each() {
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[1]), [1]);
        assert_eq!(of(&[1000]), [1]);
        for weight in [1, 7, 100, u16::MAX] {
            assert_eq!(of(&[weight; 5]), [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn weights_are_divided_and_interleaved() {
        assert_eq!(of(&[2, 4]), [2, 1, 2]);
        assert_eq!(of(&[3, 1]), [1, 1, 2, 1]);
        assert_eq!(of(&[500, 100, 100]), [1, 2, 1, 1, 1, 3, 1]);
        assert_eq!(of(&[2, 2, 1]), [1, 2, 3, 1, 2]);
    }

    #[test]
    fn too_many_slots_are_scaled_down() {
        assert_eq!(of(&[1000, 1]).len(), 1_001);
        assert_eq!(of(&[1000, 999]), [1, 2]);
        let slots = of(&[1000, 1000, 1]);
        assert!(slots.len() <= 1_025, "{}", slots.len());
        assert_eq!(share(&slots, 3), 1);
        assert_eq!(share(&slots, 1), share(&slots, 2));
        let slots = of(&[u16::MAX, 1]);
        assert_eq!((share(&slots, 1), share(&slots, 2)), (1_024, 1));
    }

    proptest! {
        #[test]
        fn slots_follow_weights(weights in prop::collection::vec(1..=1_000_u16, 1..200)) {
            let slots = of(&weights);
            let most = weights.len() * 9;
            prop_assert!(slots.len() <= most.max(1_024 + weights.len()));
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (id, weight) in (1..).zip(&weights) {
                let fair = slots.len() as f64 * f64::from(*weight) / sum;
                let share = share(&slots, id) as f64;
                // Those that are lifted to one slot take from the others.
                prop_assert!(share >= 1.0 && (share - fair).abs() <= 1.0 + 0.2 * fair, "{share} for {fair}");
            }
        }

        #[test]
        fn no_backend_has_many_slots_in_a_row(weights in prop::collection::vec(1..=40_u16, 2..8)) {
            let slots = of(&weights);
            let shares: Vec<usize> = (1..).zip(&weights).map(|(id, _)| share(&slots, id)).collect();
            for (id, own) in (1..).zip(&shares) {
                let others = (1..).zip(&shares).filter(|(other, _)| *other != id);
                let most = others.map(|(_, share)| *share).max().expect("two at least");
                let longest = slots.split(|other| *other != id).map(<[u32]>::len).max();
                prop_assert!(longest <= Some(own.div_ceil(most) + 1), "{longest:?} in {slots:?}");
            }
        }
    }
}
