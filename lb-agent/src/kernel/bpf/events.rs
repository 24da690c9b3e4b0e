//! EVENTS: what the programs report about single calls and sockets, and how much they left out.

use std::fmt;
use std::io;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::event::{Event, KINDS, Limit};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::event_ring::NAME;
use super::loader::take_map;
use crate::kernel::node::error::KernelError;

/// How many events to return at once.
const BATCH: usize = 256;

/// How often to look for events. In that time the ring takes the calls that 13 CPUs refuse at 10,000 a second each; the programs
/// count those for which it has no room.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The reader of the ring.
pub struct ProgramEvents {
    ring: AsyncFd<RingBuf<MapData>>,
    looks: bool,
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
            looks: false,
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

    /// Whether to look for events regularly: the programs report single calls without waking anybody, since that would cost the
    /// calls too much.
    pub const fn look_regularly(&mut self, is_on: bool) {
        self.looks = is_on;
    }

    /// Waits for events, and returns up to [`BATCH`] of them. Cancel safe. Errors: the ring cannot be polled.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let events = self.read();
            if !events.is_empty() {
                return Ok(events);
            }
            if self.looks {
                // Nothing is missed if it ends early or late.
                if let Ok(ready) = timeout(LOOK_EVERY, self.ring.readable_mut()).await {
                    ready?.clear_ready();
                }
            } else {
                self.ring.readable_mut().await?.clear_ready();
            }
        }
    }

    fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let ring = self.ring.get_mut();
        while events.len() < BATCH
            && let Some(record) = ring.next()
        {
            events.extend(bytemuck::try_pod_read_unaligned::<Event>(&record));
        }
        events
    }
}
