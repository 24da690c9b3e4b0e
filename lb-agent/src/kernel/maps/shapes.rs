//! The shape of each map: the sizes that the loader sets, and that a pinned map must have.

use aya::maps::lpm_trie::Key;
use aya::maps::{MapInfo, MapType};
use lb_common::affinity::AffinityKey;
use lb_common::flow::{FlowKey, Reply, ReplyKey};
use lb_common::frontend::filter;
use lb_common::near::{LINES, NearLine};
use lb_common::origin::Set;
use lb_common::source_range::SourceRange;
use lb_common::{
    Backend, FrontendEntry, FrontendKey, FrontendValue, ServiceCounters, View, config, stats,
};

use super::sizes::{LEAST, Sizes};
use super::{clients, service_counters, source_ranges};

/// The folder of a map's pin in the pin folder, and so the version of its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subfolder {
    Tables,
    /// ORIGINS and its companion maps outlive a change of the other layouts.
    Origins,
}

/// The kind of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Array,
    PerCpuArray,
    Hash,
    /// Takes memory for an element when there is one (BPF_F_NO_PREALLOC).
    SparseHash,
    LruHash,
    LpmTrie,
}

impl MapKind {
    const fn map_type(self) -> MapType {
        match self {
            Self::Array => MapType::Array,
            Self::PerCpuArray => MapType::PerCpuArray,
            Self::Hash | Self::SparseHash => MapType::Hash,
            Self::LruHash => MapType::LruHash,
            Self::LpmTrie => MapType::LpmTrie,
        }
    }
}

/// One of our maps.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub subfolder: Subfolder,
    pub kind: MapKind,
    pub key: usize,
    pub value: usize,
    /// The number of elements of a new map.
    pub length: u32,
}

const fn array<T>(name: &'static str, subfolder: Subfolder, length: u32) -> Shape {
    Shape {
        name,
        subfolder,
        kind: MapKind::Array,
        key: 4,
        value: size_of::<T>(),
        length,
    }
}

const fn hash<K, V>(name: &'static str, subfolder: Subfolder, length: u32) -> Shape {
    Shape {
        name,
        subfolder,
        kind: MapKind::Hash,
        key: size_of::<K>(),
        value: size_of::<V>(),
        length,
    }
}

const fn lru<K, V>(name: &'static str, subfolder: Subfolder, length: u32) -> Shape {
    Shape {
        kind: MapKind::LruHash,
        ..hash::<K, V>(name, subfolder, length)
    }
}

/// Further frontends of unconnected UDP sockets.
const FLOWS: u32 = 16_384;
/// Clients of service ports with session affinity.
const AFFINITIES: u32 = 65_536;
/// Ranges of all Services with `loadBalancerSourceRanges`. The kernel takes memory only for those that exist.
const SOURCE_RANGES: u32 = 65_536;
/// Service ports with something to count. The same for all sizes, so that no other size moves the counters.
const SERVICE_COUNTERS: u32 = 32_768;
/// Network namespaces of pods on the node: far more than a node has. The kernel takes memory only for those that exist.
const CLIENTS: u32 = 4096;
/// Four sockets in a set; the number of sets is a power of two.
const ORIGIN_SETS: u32 = 65_536;
/// Sockets whose set was full.
const SPILLED: u32 = 16_384;

/// All pinned maps, with the lengths of new ones.
pub fn all(sizes: Sizes) -> impl Iterator<Item = Shape> {
    let (frontends, backends) = (sizes.frontends(), sizes.backends());
    [
        hash::<FrontendKey, FrontendValue>("FRONTENDS", Subfolder::Tables, sizes.frontend_keys()),
        array::<u64>("FILTER", Subfolder::Tables, filter::WORDS),
        array::<NearLine>("NEAR_FRONTENDS", Subfolder::Tables, LINES),
        array::<FrontendEntry>("FRONTEND_LIST", Subfolder::Tables, frontends),
        array::<View>("VIEWS", Subfolder::Tables, frontends),
        array::<u64>("SLOTS", Subfolder::Tables, sizes.slots()),
        array::<Backend>("BACKENDS", Subfolder::Tables, backends),
        array::<u64>("CONFIG", Subfolder::Tables, config::WORDS),
        Shape {
            kind: MapKind::PerCpuArray,
            ..array::<u64>("STATS", Subfolder::Tables, stats::WORDS)
        },
        array::<Set>("ORIGINS", Subfolder::Origins, ORIGIN_SETS),
        hash::<u64, u64>("SPILL", Subfolder::Origins, SPILLED),
        array::<u64>("SPILLED", Subfolder::Origins, 1),
        lru::<FlowKey, u32>("FLOWS", Subfolder::Tables, FLOWS),
        lru::<ReplyKey, Reply>("REPLIES", Subfolder::Tables, FLOWS),
        lru::<AffinityKey, u64>("AFFINITY", Subfolder::Tables, AFFINITIES),
        array::<u64>("ROUNDS", Subfolder::Tables, frontends),
        Shape {
            kind: MapKind::LpmTrie,
            ..hash::<Key<SourceRange>, u32>(source_ranges::NAME, Subfolder::Tables, SOURCE_RANGES)
        },
        Shape {
            kind: MapKind::SparseHash,
            ..hash::<u32, ServiceCounters>(
                service_counters::NAME,
                Subfolder::Tables,
                SERVICE_COUNTERS,
            )
        },
        Shape {
            kind: MapKind::SparseHash,
            ..hash::<u64, u64>(clients::NAME, Subfolder::Tables, CLIENTS)
        },
    ]
    .into_iter()
}

/// The elements of the maps of [`small`] whose length is free.
const FEW: u32 = 1024;

/// All pinned maps, as short as the programs allow: for a few Services, in a few MB of memory.
pub fn small() -> impl Iterator<Item = Shape> {
    let sizes = Sizes {
        services: LEAST,
        endpoints: LEAST,
    };
    all(sizes).map(|shape| match shape.kind {
        MapKind::Array | MapKind::PerCpuArray if shape.name != "ORIGINS" => shape,
        _ => Shape {
            length: shape.length.min(FEW),
            ..shape
        },
    })
}

impl Shape {
    /// The first property in which an existing map differs, and its wanted value; none if the map fits.
    pub fn mismatch(&self, info: &MapInfo) -> Option<(String, String)> {
        let kind = info.map_type().ok();
        let found = (info.key_size() as usize, info.value_size() as usize);
        let has_length = info.max_entries() > 0
            && (self.name != "ORIGINS" || info.max_entries().is_power_of_two());
        if kind == Some(self.kind.map_type()) && found == (self.key, self.value) && has_length {
            return None;
        }
        let say = |kind: Option<MapType>, (key, value), length: u32| {
            let kind = kind.map_or_else(|| "another kind of map".to_owned(), |k| format!("{k:?}"));
            format!("{kind} of {length} elements, keys of {key} and values of {value} bytes")
        };
        Some((
            say(kind, found, info.max_entries()),
            say(
                Some(self.kind.map_type()),
                (self.key, self.value),
                self.length,
            ),
        ))
    }
}
