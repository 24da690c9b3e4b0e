//! The tables, and the variable that the loader sets before it loads the programs.
//!
//! The lengths here are only defaults. The loader sets most of them (`shapes.rs` in lb-agent).

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lb_common::affinity::AffinityKey;
use lb_common::event::{self, Event, Limit};
use lb_common::flow::{FlowKey, Reply, ReplyKey};
use lb_common::near::NearLine;
use lb_common::origin::Set;
use lb_common::source_range::SourceRange;
use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, ServiceCounters, View};

use crate::atomic::Word;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The frontends and guards, by address, port and protocol.
#[btf_map]
pub static FRONTENDS: HashMap<FrontendKey, FrontendValue, 1024> = HashMap::new();

/// A bit for each key that FRONTENDS may contain.
#[btf_map]
pub static FILTER: Array<u64, { lb_common::frontend::filter::WORDS as usize }, MMAPABLE> =
    Array::new();

/// A copy of most IPv4 frontends in FRONTENDS, faster to read.
#[btf_map]
pub static NEAR_FRONTENDS: Array<NearLine, { lb_common::near::LINES as usize }, MMAPABLE> =
    Array::new();

/// The address of each frontend, by its id.
#[btf_map]
pub static FRONTEND_LIST: Array<FrontendEntry, 1024, MMAPABLE> = Array::new();

/// The choices of backends, by their index.
#[btf_map]
pub static VIEWS: Array<View, 1024, MMAPABLE> = Array::new();

/// Backend ids, two in each word: the slots of views with more than four.
#[btf_map]
pub static SLOTS: Array<u64, 1024, MMAPABLE> = Array::new();

/// The backends, by their id.
#[btf_map]
pub static BACKENDS: Array<Backend, 1024, MMAPABLE> = Array::new();

/// The frontend and the backend of each socket, in sets of four.
#[btf_map]
pub static ORIGINS: Array<Set, 1024, MMAPABLE> = Array::new();

/// Sockets whose set in ORIGINS is full: from cookie to pair.
#[btf_map]
pub static SPILL: HashMap<u64, u64, 1024> = HashMap::new();

/// One word: the number of elements in SPILL. If it is 0, no look-up in SPILL is necessary.
#[btf_map]
pub static SPILLED: Array<u64, 1, MMAPABLE> = Array::new();

/// The backend of each frontend that an unconnected UDP socket uses after its first one.
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, u32, 1024> = LruHashMap::new();

/// The address that a reply to an unconnected UDP socket is reported as coming from.
#[btf_map]
pub static REPLIES: LruHashMap<ReplyKey, Reply, 1024> = LruHashMap::new();

/// The backend of each client of a service port with session affinity: an [`lb_common::affinity::Affinity`] as a word.
#[btf_map]
pub static AFFINITY: LruHashMap<AffinityKey, u64, 1024> = LruHashMap::new();

/// The network namespaces that the hooks serve, if the agent selects pods: see [`lb_common::client`].
#[btf_map]
pub static CLIENTS: HashMap<u64, u64, 1024, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A key of SOURCE_RANGES with its number of bits.
pub type SourceKey = Key<SourceRange>;

/// The sources that may use the frontends with source ranges of a service port. The values mean nothing.
#[btf_map]
pub static SOURCE_RANGES: LpmTrie<SourceRange, u32, 1024> = LpmTrie::new();

/// The number of connections of each view with round-robin, by the view's index. Not in VIEWS, whose cache lines
/// programs only read.
#[btf_map]
pub static ROUNDS: Array<u64, 1024, MMAPABLE> = Array::new();

/// Settings of the agent for the programs, and for the next agent.
#[btf_map]
pub static CONFIG: Array<u64, { lb_common::config::WORDS as usize }, MMAPABLE> = Array::new();

/// The programs' counters.
#[btf_map]
pub static STATS: PerCpuArray<u64, { lb_common::stats::WORDS as usize }> = PerCpuArray::new();

/// The counters of each service port that has any, by its id.
#[btf_map]
pub static SERVICE_COUNTERS: HashMap<u32, ServiceCounters, 1024, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// What happened to single calls and sockets, for an agent that reads it.
#[btf_map]
pub static EVENTS: RingBuf<Event, 65_536> = RingBuf::new();

/// How many events each CPU has reported, and how many it has not, by their kind.
#[btf_map]
pub static EVENT_LIMITS: PerCpuArray<Limit, { event::KINDS as usize }> = PerCpuArray::new();

/// A word of an array of words; none if the index is not below the array's length.
#[inline(always)]
pub fn word<const LENGTH: usize>(
    array: &'static Array<u64, LENGTH, MMAPABLE>,
    index: u32,
) -> Option<Word> {
    // SAFETY: the look-up gave a word.
    array
        .get_ptr_mut(index)
        .map(|word| unsafe { Word::new(word) })
}

/// The pair of a socket in SPILL.
#[inline(always)]
pub fn spilled_pair(cookie: u64) -> Option<Word> {
    // SAFETY: the look-up gave a word.
    SPILL
        .get_ptr_mut(cookie)
        .map(|word| unsafe { Word::new(word) })
}

/// A client's affinity.
#[inline(always)]
pub fn affinity(key: AffinityKey) -> Option<Word> {
    // SAFETY: the look-up gave a word.
    AFFINITY
        .get_ptr_mut(key)
        .map(|word| unsafe { Word::new(word) })
}

/// The value of a network namespace in CLIENTS.
#[inline(always)]
pub fn client(cookie: u64) -> Option<Word> {
    // SAFETY: the look-up gave a word.
    CLIENTS
        .get_ptr_mut(cookie)
        .map(|word| unsafe { Word::new(word) })
}

/// Increments a counter in STATS.
///
/// `index`: one of [`lb_common::stats`].
#[inline(always)]
pub fn count(index: u32) {
    if let Some(counter) = STATS.get_ptr_mut(index) {
        // SAFETY: the look-up gave this CPU's word. A preempted program may lose a count.
        unsafe { *counter += 1 };
    }
}

/// The number of sets in ORIGINS, which is a power of two, minus one.
#[unsafe(no_mangle)]
pub static ORIGINS_MASK: Global<u32> = Global::new(1023);
