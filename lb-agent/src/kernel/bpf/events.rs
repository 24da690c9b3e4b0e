//! EVENTS: what the programs report about single calls and sockets, and how much they left out.

use std::fmt;
use std::io;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::event::{Event, KINDS, Limit};
use tokio::io::unix::AsyncFd;

use super::event_ring::NAME;
use super::loader::take_map;
use crate::kernel::node::error::KernelError;

/// How many events to return at once.
const BATCH: usize = 256;

/// The reader of the ring.
pub struct ProgramEvents {
    ring: AsyncFd<RingBuf<MapData>>,
    limits: PerCpuArray<MapData, Limit>,
}

impl fmt::Debug for ProgramEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl ProgramEvents {
    /// Must be called in a runtime.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let invalid = |error| KernelError::Object(format!("map {NAME}: {error}"));
        let ring = RingBuf::try_from(take_map(object, NAME)?).map_err(invalid)?;
        // SAFETY: the ring owns its descriptor, which stays open as long as the ring exists.
        let ring = unsafe { AsyncFd::register(ring) };
        Ok(Self {
            ring: ring.map_err(|error| KernelError::map("poll", NAME)(io::Error::from(error)))?,
            limits: PerCpuArray::try_from(take_map(object, "EVENT_LIMITS")?).map_err(invalid)?,
        })
    }

    /// How many events of each kind ([`lb_common::event::kind`]) the programs have not reported, since they were loaded.
    #[must_use]
    pub fn dropped(&self) -> [u64; KINDS as usize] {
        let mut dropped = [0; KINDS as usize];
        for (kind, dropped) in (0..KINDS).zip(&mut dropped) {
            let of_cpus = self.limits.get(&kind, 0);
            *dropped = of_cpus.map_or(0, |limits| limits.iter().map(|limit| limit.dropped).sum());
        }
        dropped
    }

    /// Waits for events, and returns up to [`BATCH`] of them. Cancel safe. Errors: the ring cannot be polled.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let mut events = Vec::new();
            let ring = ready.get_inner_mut();
            while events.len() < BATCH
                && let Some(record) = ring.next()
            {
                events.extend(bytemuck::try_pod_read_unaligned::<Event>(&record));
            }
            if events.len() < BATCH {
                ready.clear_ready();
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}
