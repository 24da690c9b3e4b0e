//! The kernel memory of the maps, which the kernel charges to the cgroup of the agent that made them.
//!
//! The sizes follow the kernel's code for maps that it allocates as a whole (kernel/bpf/{arraymap,hashtab}.c), which
//! ours are.

use std::fs;

use super::shapes::{MapKind, Shape};

const PAGE: u64 = 4096;
/// `struct htab_elem` without key and value.
const ELEMENT: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;

/// Bytes of all maps of these shapes on a machine with this number of possible CPUs.
pub fn bytes(shapes: impl Iterator<Item = Shape>, cpus: u64) -> u64 {
    shapes.map(|shape| of(&shape, cpus)).sum()
}

fn of(shape: &Shape, cpus: u64) -> u64 {
    let (key, value) = (shape.key as u64, shape.value as u64);
    let (value, length) = (value.next_multiple_of(8), u64::from(shape.length));
    match shape.kind {
        // One page is for the map itself, since its values begin on another.
        MapKind::Array => PAGE + (value * length).next_multiple_of(PAGE),
        MapKind::PerCpuArray => PAGE + (8 + value * cpus) * length,
        // Elements are allocated one by one, and most Services have none.
        MapKind::LpmTrie => PAGE,
        MapKind::SparseHash => PAGE + BUCKET * length.next_power_of_two(),
        MapKind::Hash | MapKind::LruHash => {
            let element = ELEMENT + key.next_multiple_of(8) + value;
            // There is one more element for each CPU, so that an update needs no free element.
            PAGE + element * (length + cpus) + BUCKET * length.next_power_of_two()
        }
    }
}

/// The number of possible CPUs of this machine; 1 if it is unreadable.
pub fn possible_cpus() -> u64 {
    let list = fs::read_to_string("/sys/devices/system/cpu/possible");
    list.ok().and_then(|list| last_cpu(&list)).unwrap_or(0) + 1
}

/// The last CPU of a list like `0-3` or `0,2-7`.
fn last_cpu(list: &str) -> Option<u64> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::kernel::maps::shapes::{self, Subfolder};
    use crate::kernel::maps::sizes::Sizes;
    use crate::kernel::node::memory_limit::AGENT;

    /// Bytes of nftables for each backend with the packet path: an element (struct nft_hash_elem) with what memcg notes of it, and
    /// its buckets in both maps (`nft_hash_buckets` in net/netfilter/nft_set_hash.c, in pages of 2 MiB). The kernel test
    /// `netfilter::memory` measures them.
    const NAT_ELEMENT: u64 = (64 + 8) + 2 * 24;

    /// More CPUs than most nodes have.
    const CPUS: u64 = 256;

    /// The memory limit at a place of a YAML file of deploy/, in Mi.
    fn limit(file: &str, place: &str) -> u64 {
        let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).expect(&path);
        let value: Value = serde_saphyr::from_str(&text).expect(&path);
        let limit = value.pointer(place).and_then(Value::as_str).expect(place);
        let number = limit.strip_suffix("Mi").expect("a limit in Mi");
        number.parse::<u64>().expect("a number") << 20
    }

    /// Covers an upgrade too, which fills new tables beside the old ones.
    #[test]
    fn memory_limits_allow_two_sets_of_tables_and_the_agent() {
        let all = || shapes::all(Sizes::default());
        let again = all().filter(|shape| shape.subfolder == Subfolder::Tables);
        let copied = 24 * u64::from(Sizes::default().backends());
        let nat = NAT_ELEMENT * u64::from(Sizes::default().backends());
        let needed = bytes(all(), CPUS) + bytes(again, CPUS) + copied + nat + AGENT;
        for (file, place) in [
            (
                "kustomize/base/daemonset.yaml",
                "/spec/template/spec/containers/0/resources/limits/memory",
            ),
            ("helm/socklb/values.yaml", "/resources/limits/memory"),
        ] {
            let limit = limit(file, place);
            assert!(needed <= limit, "{file}: {limit}, needed are {needed}");
        }
    }

    #[test]
    fn the_default_sizes_need_the_memory_that_the_help_states() {
        let taken = bytes(shapes::all(Sizes::default()), CPUS);
        assert_eq!(taken.div_ceil(1_000_000), 57);
    }

    /// A check runs in the pod of an agent, whose limit has 64 MiB for everything but tables.
    #[test]
    fn small_tables_take_little_memory() {
        let taken = bytes(shapes::small(), 16);
        assert!(taken < 16 << 20, "{taken}");
    }

    #[test]
    fn the_highest_cpu_of_a_list_is_found() {
        assert_eq!(last_cpu("0-3\n"), Some(3));
        assert_eq!(last_cpu("0\n"), Some(0));
        assert_eq!(last_cpu("0,2-7\n"), Some(7));
        assert_eq!(last_cpu(""), None);
    }
}
