//! Maglev tables (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4): equal
//! shares, or shares by weight, and most of the slots keep their backend when another one goes or comes.

use std::net::SocketAddr;

use super::super::encode;
use super::super::model::HeldBackend;

/// Primes, each about twice the one before. The last is a view's longest table.
const LENGTHS: [u32; 12] = [
    31, 61, 127, 251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521,
];

/// A table is made with so many slots for each backend, and replaced when there are fewer than half or more than four
/// times as many: another length moves nearly everybody. With ten times fewer, a backend of ten that goes would take 8 %
/// of the others' clients with it instead of 2 %. Weights do not count: a change of one must not move everybody.
const SLOTS_A_BACKEND: u32 = 100;

/// The slots of a view.
///
/// `backends`: the view's, sorted by address. `length`: of the table that the view has now.
pub fn slots(backends: &[&HeldBackend], length: u32) -> Vec<u32> {
    let mut candidates: Vec<Candidate> = backends.iter().copied().map(Candidate::new).collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let number = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    fill(&mut candidates, table_length(length, number))
}

/// `backends`: their number.
fn table_length(length: u32, backends: u32) -> u32 {
    let wanted = backends.saturating_mul(SLOTS_A_BACKEND);
    let is_good = LENGTHS.contains(&length) && length >= wanted / 2 && length / 4 <= wanted;
    if is_good {
        return length;
    }
    let longest = LENGTHS[LENGTHS.len() - 1];
    LENGTHS
        .into_iter()
        .find(|&l| l >= wanted)
        .unwrap_or(longest)
}

/// A backend and its permutation of the slots.
struct Candidate {
    id: u32,
    weight: u16,
    hash: u64,
    next: u32,
    skip: u32,
}

impl Candidate {
    fn new(backend: &HeldBackend) -> Self {
        Self {
            id: backend.id,
            weight: backend.weight.max(1),
            hash: hash(backend.address),
            next: 0,
            skip: 1,
        }
    }
}

/// One after the other, each backend takes the next free slot of its permutation: the heaviest in every round, the others in as
/// many as their weights are of its weight. All do in the first round, so that none is left without.
fn fill(candidates: &mut [Candidate], length: u32) -> Vec<u32> {
    for candidate in &mut *candidates {
        candidate.next = below(candidate.hash >> 32, length);
        candidate.skip = below(candidate.hash & 0xffff_ffff, length - 1) + 1;
    }
    let heaviest = candidates.iter().map(|candidate| candidate.weight).max();
    let heaviest = u32::from(heaviest.unwrap_or(1));
    let mut slots = vec![None; length as usize];
    let mut left = slots.len();
    // Below the heaviest weight, so that the product has 32 bits.
    let mut round = 0;
    while left > 0 {
        for candidate in &mut *candidates {
            let weight = u32::from(candidate.weight);
            if left == 0 || round * weight % heaviest >= weight {
                continue;
            }
            // The length is prime and the skip below it, so the permutation has every slot.
            while slots[candidate.next as usize].is_some() {
                candidate.next = (candidate.next + candidate.skip) % length;
            }
            slots[candidate.next as usize] = Some(candidate.id);
            left -= 1;
        }
        round = (round + 1) % heaviest;
    }
    slots.into_iter().flatten().collect()
}

/// `number` has 32 bits.
fn below(number: u64, length: u32) -> u32 {
    u32::try_from((number * u64::from(length)) >> 32).unwrap_or(0)
}

/// Equal in every agent, so that a new one leaves the table as it is. The finalizer of SplitMix64, a word at a time.
fn hash(address: SocketAddr) -> u64 {
    let [a, b, c, d] = encode::address(address.ip())
        .map(u32::from_be)
        .map(u64::from);
    let mut hash = 0;
    for word in [a << 32 | b, c << 32 | d, u64::from(address.port())] {
        hash ^= word;
        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use super::*;

    fn candidates(numbers: impl IntoIterator<Item = u32>) -> Vec<Candidate> {
        let backend = |number: u32| HeldBackend {
            address: (Ipv4Addr::from(0x0a00_0000 + number), 80).into(),
            id: number,
            state: 1,
            weight: 1,
        };
        numbers
            .into_iter()
            .map(|n| Candidate::new(&backend(n)))
            .collect()
    }

    #[test]
    fn equal_weights_get_equal_shares() {
        for number in [1, 2, 3, 10, 100, 1_000] {
            let length = table_length(0, number);
            let slots = fill(&mut candidates(1..=number), length);
            let mut shares = HashMap::new();
            slots
                .iter()
                .for_each(|id| *shares.entry(id).or_insert(0_u32) += 1);
            let fair = length / number;
            assert_eq!(shares.len(), number as usize);
            assert!(
                shares.values().all(|&share| share.abs_diff(fair) <= 1),
                "{number}"
            );
        }
    }

    #[test]
    fn shares_follow_weights() {
        let mut candidates = candidates([1, 2]);
        candidates[1].weight = 3;
        let slots = fill(&mut candidates, 127);
        let heavy = slots.iter().filter(|&&id| id == 2).count();
        assert!((94..=96).contains(&heavy), "{heavy}");
    }

    #[test]
    fn the_lightest_has_a_slot() {
        for weight in [1_000, u16::MAX] {
            let mut candidates = candidates(1..=10);
            candidates[..9].iter_mut().for_each(|of| of.weight = weight);
            let slots = fill(&mut candidates, table_length(0, 10));
            assert_eq!(slots.iter().filter(|&&id| id == 10).count(), 1);
        }
    }

    /// In percent of all clients, beside those that have to.
    #[test]
    fn a_change_of_a_weight_moves_few_other_slots() {
        for (before, after) in [(1, 2), (5, 6), (5, 10), (10, 9), (10, 1)] {
            let of = |weight: u16| {
                let mut candidates = candidates(1..=10);
                candidates.iter_mut().for_each(|of| of.weight = 5);
                candidates[0].weight = weight;
                fill(&mut candidates, table_length(0, 10))
            };
            let (before, after) = (of(before), of(after));
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b);
            let moved = moved.filter(|(a, b)| **a != 1 && **b != 1).count();
            let percent = 100.0 * moved as f64 / before.len() as f64;
            assert!(percent < 6.0, "{percent:.1} %");
        }
    }

    /// In percent of all clients, beside those of the backend that went.
    #[test]
    fn removing_a_backend_moves_few_other_slots() {
        for number in [3_u32, 10, 50, 200] {
            let length = table_length(0, number);
            let before = fill(&mut candidates(1..=number), length);
            let after = fill(
                &mut candidates(2..=number),
                table_length(length, number - 1),
            );
            assert_eq!(before.len(), after.len(), "the table keeps its length");
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(a, b)| **a != 1 && a != b)
                .count();
            let percent = 100.0 * moved as f64 / f64::from(length);
            assert!(percent < 4.0, "{number} backends: {percent:.1} %");
        }
    }

    #[test]
    fn a_table_keeps_its_length_while_it_is_suitable() {
        assert_eq!(table_length(0, 3), 509);
        assert_eq!(table_length(509, 10), 509);
        assert_eq!(table_length(509, 11), 2_039);
        assert_eq!(table_length(2_039, 6), 2_039);
        assert_eq!(table_length(2_039, 5), 509);
        assert_eq!(table_length(300, 3), 509);
        assert_eq!(table_length(0, 1_000_000), 65_521);
    }
}
