//! How much kernel memory the maps take: what a memory limit has to leave room for.
//!
//! Counted as the kernel does for maps that it allocates whole (kernel/bpf/{arraymap,hashtab}.c), which ours are.

use std::fs;

use aya::maps::MapType;
use serde_json::Value;

use super::shapes::{self, Shape};

/// More than most nodes have.
const CPUS: u64 = 256;
const PAGE: u64 = 4096;
/// `struct htab_elem` without key and value.
const ELEMENT: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;
/// What the agent itself needs, at least.
const AGENT: u64 = 64 << 20;

/// Bytes of a map.
fn footprint(shape: &Shape) -> u64 {
    let (key, value) = (shape.key as u64, shape.value as u64);
    let (value, length) = (value.next_multiple_of(8), u64::from(shape.length));
    match shape.kind {
        // One page for the map itself, since its values begin on another.
        MapType::Array => PAGE + (value * length).next_multiple_of(PAGE),
        MapType::PerCpuArray => PAGE + (8 + value * CPUS) * length,
        MapType::Hash | MapType::LruHash => {
            let element = ELEMENT + key.next_multiple_of(8) + value;
            // One more for each CPU, so that an update needs no free one.
            PAGE + element * (length + CPUS) + BUCKET * length.next_power_of_two()
        }
        kind => panic!("{kind:?}: how much does the kernel allocate?"),
    }
}

fn all() -> u64 {
    shapes::all().map(|shape| footprint(&shape)).sum()
}

/// The memory limit at a place of a YAML file of deploy/, in Mi.
fn limit(file: &str, place: &str) -> u64 {
    let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).expect(&path);
    let value: Value = serde_saphyr::from_str(&text).expect(&path);
    let limit = value.pointer(place).and_then(Value::as_str).expect(place);
    let number = limit.strip_suffix("Mi").expect("a limit in Mi");
    number.parse::<u64>().expect("a number") << 20
}

#[test]
fn limits_leave_room_for_the_tables_and_the_agent() {
    let needed = all() + AGENT;
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
