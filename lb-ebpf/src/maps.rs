//! The tables, and what the loader sets before the programs are loaded.
//!
//! Sizes here are only defaults: the agent's are set at load (`lb-agent/src/kernel/maps/shapes.rs`).

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use lb_common::affinity::AffinityKey;
use lb_common::flow::{FlowKey, Reply, ReplyKey};
use lb_common::near::NearLine;
use lb_common::origin::Set;
use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, View};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
pub static FRONTENDS: HashMap<FrontendKey, FrontendValue, 1024> = HashMap::new();

/// What FRONTENDS surely does not have.
#[btf_map]
pub static FILTER: Array<u64, { lb_common::frontend::filter::WORDS as usize }, MMAPABLE> =
    Array::new();

/// What FRONTENDS says of IPv4 frontends.
#[btf_map]
pub static NEAR_FRONTENDS: Array<NearLine, { lb_common::near::LINES as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub static FRONTEND_LIST: Array<FrontendEntry, 1024, MMAPABLE> = Array::new();

#[btf_map]
pub static VIEWS: Array<View, 1024, MMAPABLE> = Array::new();

#[btf_map]
pub static SLOTS: Array<u64, 1024, MMAPABLE> = Array::new();

#[btf_map]
pub static BACKENDS: Array<Backend, 1024, MMAPABLE> = Array::new();

#[btf_map]
pub static ORIGINS: Array<Set, 1024, MMAPABLE> = Array::new();

/// Sockets whose set in ORIGINS is full: cookie to pair.
#[btf_map]
pub static SPILL: HashMap<u64, u64, 1024> = HashMap::new();

/// How many elements SPILL has, so that an empty one costs no look-up.
#[btf_map]
pub static SPILLED: Array<u64, 1, MMAPABLE> = Array::new();

/// The backend that an unconnected UDP socket's further frontend has.
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, u32, 1024> = LruHashMap::new();

/// The frontend that a reply to an unconnected UDP socket is turned back into.
#[btf_map]
pub static REPLIES: LruHashMap<ReplyKey, Reply, 1024> = LruHashMap::new();

/// The backend that a client of a service port has: an [`lb_common::affinity::Affinity`] as a word.
#[btf_map]
pub static AFFINITY: LruHashMap<AffinityKey, u64, 1024> = LruHashMap::new();

/// How many connections each view with round-robin has had: apart from VIEWS, whose lines are only read.
#[btf_map]
pub static ROUNDS: Array<u64, 1024, MMAPABLE> = Array::new();

/// What the agent says to the programs, and to the next agent.
#[btf_map]
pub static CONFIG: Array<u64, { lb_common::config::WORDS as usize }, MMAPABLE> = Array::new();

/// What the programs count.
#[btf_map]
pub static STATS: PerCpuArray<u64, { lb_common::stats::WORDS as usize }> = PerCpuArray::new();

/// Counts one more of something.
#[inline(always)]
pub fn count(what: u32) {
    if let Some(number) = STATS.get_ptr_mut(what) {
        // SAFETY: the look-up gave this CPU's word. Where the kernel preempts programs a count may be lost.
        unsafe { *number += 1 };
    }
}

/// The number of sets in ORIGINS, a power of two, less one.
#[unsafe(no_mangle)]
pub static ORIGINS_MASK: Global<u32> = Global::new(1023);
