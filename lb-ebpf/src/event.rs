//! Reports single calls and sockets to an agent that reads EVENTS. While none does, this costs the read of one word, on
//! paths that refuse or have failed anyway.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_ktime_get_ns};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use bytemuck::Zeroable as _;
use lb_common::FrontendKey;
use lb_common::config::EVENTS_READ;
use lb_common::event::{Event, MOST, kind};

use crate::backend::BackendLine;
use crate::{config, maps};

/// What happened.
#[derive(Clone, Copy)]
pub struct Happening {
    /// One of [`lb_common::event::kind`].
    pub kind: u8,
    /// See [`Event`].
    pub frontend: u32,
    pub backend: u32,
    pub service_port: u32,
}

/// Reports what happened to a call or socket that the current process makes or closes.
///
/// `asked`: what the client asked for.
#[inline(always)]
pub fn report(ctx: &impl EbpfContext, asked: &FrontendKey, what: Happening) {
    if config::word(EVENTS_READ) == 0 {
        return;
    }
    let Some((time, mut record)) = reserve(what.kind) else {
        return;
    };
    let process = (bpf_get_current_pid_tgid() >> 32) as u32;
    record.write(Event {
        time,
        // SAFETY: the helper takes the hook's own context.
        network: unsafe { bpf_get_netns_cookie(ctx.as_ptr()) },
        address: asked.address,
        port: asked.port,
        protocol: asked.protocol,
        kind: what.kind,
        frontend: what.frontend,
        backend: what.backend,
        service_port: what.service_port,
        process,
        zero: 0,
        command: bpf_get_current_comm().unwrap_or_default(),
    });
    // Waking the agent costs more than all the rest. While anybody follows, it looks into the ring by itself.
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Reports a backend to which a connect has failed, for outlier detection.
#[inline(always)]
pub fn suspect(backend: BackendLine) {
    let Some((time, mut record)) = reserve(kind::SUSPECT) else {
        return;
    };
    record.write(Event {
        time,
        kind: kind::SUSPECT,
        backend: backend.id,
        service_port: backend.service_port(),
        ..Event::zeroed()
    });
    // Otherwise the kernel would wake nobody while the ring contains older events.
    record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}

/// Room for an event of this kind, and the time in ns. None: the limit is reached, or the ring is full. Both are counted.
#[inline(always)]
fn reserve(kind: u8) -> Option<(u64, RingBufEntry<Event>)> {
    let limit = maps::EVENT_LIMITS.get_ptr_mut(u32::from(kind))?;
    // SAFETY: the helper has no arguments.
    let time = unsafe { bpf_ktime_get_ns() };
    #[expect(clippy::cast_possible_truncation, reason = "it wraps after 136 years")]
    let second = (time >> 30) as u32;
    // SAFETY: the look-up gave this CPU's element. A preempted program may lose a count.
    let limit = unsafe { &mut *limit };
    if limit.second != second {
        limit.second = second;
        limit.reported = 0;
    }
    if limit.reported >= MOST {
        limit.dropped += 1;
        return None;
    }
    let Some(record) = maps::EVENTS.reserve(0) else {
        limit.dropped += 1;
        return None;
    };
    limit.reported += 1;
    Some((time, record))
}
