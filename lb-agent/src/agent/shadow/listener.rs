//! The thread that hears of new flows, and compares them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::announce::log_difference;
use super::comparison::{Comparison, Flow, Moment};
use crate::duties::conntrack::{Arrival, ConntrackError, NewFlow, NewFlows};

/// 0: the kernel reports no entries (Documentation/networking/nf_conntrack-sysctl.rst).
const EVENTS: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// How long the thread waits until it looks whether the agent is still there.
const WAIT: Duration = Duration::from_secs(1);

/// How long after a failure it tries again.
const AGAIN: Duration = Duration::from_secs(10);

/// What the thread and the main loop share.
#[derive(Debug)]
pub struct Shared {
    comparison: Mutex<Comparison>,
    overruns: AtomicU64,
    /// Why no flows, or not all of them, are seen now.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub fn new(comparison: Comparison) -> Self {
        Self {
            comparison: Mutex::new(comparison),
            overruns: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    pub fn comparison(&self) -> MutexGuard<'_, Comparison> {
        self.comparison
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the kernel had no room for new flows.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    pub fn trouble(&self) -> Option<String> {
        self.lock_trouble().clone()
    }

    fn lock_trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs it if it is another one than before.
    fn set_trouble(&self, now: Option<String>) {
        let mut trouble = self.lock_trouble();
        if *trouble == now {
            return;
        }
        match &now {
            Some(error) => tracing::warn!(
                event = "shadow.not_listening",
                error,
                "cannot see where connections go: nothing is compared",
            ),
            None => tracing::info!(
                event = "shadow.listening_again",
                "new flows are compared again",
            ),
        }
        *trouble = now;
    }
}

/// Starts the thread, in the network namespace of the caller. It ends when nobody else has the value any more.
///
/// The socket is open when this returns, unless that fails: then the thread tries again.
///
/// # Errors
/// The thread cannot be started.
pub fn start(shared: &Arc<Shared>) -> Result<(), ConntrackError> {
    let flows = open(shared);
    let shared = Arc::downgrade(shared);
    thread::Builder::new()
        .name("shadow".to_owned())
        .spawn(move || work(&shared, flows))
        .map_err(ConntrackError::Thread)?;
    Ok(())
}

fn work(shared: &Weak<Shared>, mut flows: Option<NewFlows>) {
    loop {
        match &mut flows {
            Some(open) => {
                let arrival = open.wait();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if !take(&shared, arrival) {
                    flows = None;
                }
            }
            None => {
                thread::sleep(AGAIN);
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                flows = open(&shared);
            }
        }
    }
}

fn open(shared: &Shared) -> Option<NewFlows> {
    match NewFlows::open(WAIT) {
        Ok(flows) => {
            shared.set_trouble(silence());
            Some(flows)
        }
        Err(error) => {
            shared.set_trouble(Some(error.to_string()));
            None
        }
    }
}

/// Returns whether the socket can be read further.
fn take(shared: &Shared, arrival: Result<Arrival, ConntrackError>) -> bool {
    match arrival {
        Ok(Arrival::Flow(flow)) => {
            shared.set_trouble(None);
            compare(shared, &flow);
        }
        Ok(Arrival::Other) => {}
        Ok(Arrival::Nothing) => shared.set_trouble(silence()),
        Ok(Arrival::Overrun) => {
            if shared.overruns.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    event = "shadow.overrun",
                    "new flows came faster than they could be read: some are not compared",
                );
            }
        }
        Err(error) => {
            shared.set_trouble(Some(error.to_string()));
            return false;
        }
    }
    true
}

fn compare(shared: &Shared, flow: &NewFlow) {
    // kube-proxy's rules use no zones.
    if flow.is_in_a_zone {
        return;
    }
    let moment = Moment {
        at: Instant::now(),
        time: Timestamp::now(),
    };
    let flow = Flow {
        protocol: flow.protocol,
        client: flow.client,
        to: flow.to,
        answers: flow.answers,
    };
    let first = shared.comparison().take(flow, moment);
    if let Some((port, difference)) = first {
        log_difference(&port, &difference);
    }
}

/// Why the kernel reports nothing; none if it does.
fn silence() -> Option<String> {
    let value = fs::read_to_string(EVENTS).ok()?;
    (value.trim() == "0").then(|| {
        "cannot see new conntrack entries: net.netfilter.nf_conntrack_events is 0; set it to 2"
            .to_owned()
    })
}
