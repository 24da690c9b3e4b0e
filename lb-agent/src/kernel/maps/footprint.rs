//! The kernel memory of the maps, which the kernel charges to the cgroup of the agent that made them.
//!
//! The sizes follow the kernel's code for maps that it allocates as a whole (kernel/bpf/{arraymap,hashtab}.c), which
//! ours are.

use std::fs;

use super::shapes::{MapKind, Shape};

/// What the sizes depend on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Possible CPUs.
    pub cpus: u64,
    /// Bytes of a page: 4 KiB on x86-64; 4, 16 or 64 KiB on arm64.
    pub page: u64,
}

impl Machine {
    /// This one; with one CPU if their number is unreadable.
    pub fn this() -> Self {
        let list = fs::read_to_string("/sys/devices/system/cpu/possible");
        Self {
            cpus: list.ok().and_then(|list| last_cpu(&list)).unwrap_or(0) + 1,
            page: rustix::param::page_size() as u64,
        }
    }
}

/// `struct htab_elem` without key and value.
const ELEMENT: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;

/// Bytes of all maps of these shapes.
pub fn bytes(shapes: impl Iterator<Item = Shape>, on: Machine) -> u64 {
    shapes.map(|shape| of(&shape, on)).sum()
}

fn of(shape: &Shape, Machine { cpus, page }: Machine) -> u64 {
    let (key, value) = (shape.key as u64, shape.value as u64);
    let (value, length) = (value.next_multiple_of(8), u64::from(shape.length));
    match shape.kind {
        // One page is for the map itself, since its values begin on another.
        MapKind::Array => page + (value * length).next_multiple_of(page),
        MapKind::PerCpuArray => page + (8 + value * cpus) * length,
        // Elements are allocated one by one, and most Services have none.
        MapKind::LpmTrie => page,
        MapKind::SparseHash => page + BUCKET * length.next_power_of_two(),
        MapKind::Hash | MapKind::LruHash => {
            let element = ELEMENT + key.next_multiple_of(8) + value;
            // There is one more element for each CPU, so that an update needs no free element.
            page + element * (length + cpus) + BUCKET * length.next_power_of_two()
        }
    }
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

    /// With more CPUs than most nodes have.
    const LARGE: Machine = Machine {
        cpus: 256,
        page: 4 << 10,
    };

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
        let again = || all().filter(|shape| shape.subfolder == Subfolder::Tables);
        let copied = 24 * u64::from(Sizes::default().backends());
        let nat = NAT_ELEMENT * u64::from(Sizes::default().backends());
        let needed = |page| {
            let machine = Machine { page, ..LARGE };
            bytes(all(), machine) + bytes(again(), machine) + copied + nat + AGENT
        };
        let needed = [4 << 10, 16 << 10, 64 << 10].map(needed).into_iter().max();
        let needed = needed.expect("three pages");
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
        let taken = bytes(shapes::all(Sizes::default()), LARGE);
        assert_eq!(taken.div_ceil(1_000_000), 57);
    }

    /// A check runs in the pod of an agent, whose limit has 64 MiB for everything but tables.
    #[test]
    fn small_tables_take_little_memory() {
        let machine = Machine {
            cpus: 16,
            page: 64 << 10,
        };
        let taken = bytes(shapes::small(), machine);
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
