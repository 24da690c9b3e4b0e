//! The packet path while the agent runs: devices that come and go, and what other programs change.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::engine::Engine;
use crate::kernel::{
    self, Device, DeviceChanges, Maps, NetfilterError, PacketCounters, PacketHook, PacketSettings,
    Packets, RulesetWatch,
};
use crate::serve::PacketPathStatus;

/// The least time between two comparisons of netfilter's rules and maps, so that another program that changes them all the time
/// does not keep the main loop busy.
const PAUSE: Duration = Duration::from_millis(200);

/// The packet path, in place or not.
#[derive(Debug)]
pub struct PacketPath {
    /// None if the kernel cannot have it: `errors` contains the reason.
    placed: Option<Placed>,
    /// What does not work now.
    errors: Vec<String>,
}

#[derive(Debug)]
struct Placed {
    hook: PacketHook,
    devices: mpsc::Receiver<Vec<Device>>,
    /// None before the first synchronization, which would take longer with it.
    watch: Option<RulesetWatch>,
    /// The NAT maps are being read.
    reading: Option<Reading>,
    /// Another program has changed our rules or maps since the last comparison.
    is_changed: bool,
    /// When the next comparison may be.
    next: Instant,
    /// How often to compare anyway.
    every: Duration,
}

/// A list of the NAT maps' elements that another thread makes.
#[derive(Debug)]
struct Reading {
    thread: JoinHandle<Result<Elements, NetfilterError>>,
    /// [`Tables::nat_stores`] at its start.
    ///
    /// [`Tables::nat_stores`]: crate::tables::Tables::nat_stores
    stores: u64,
    /// How often it was begun again because the agent changed the maps meanwhile.
    again: u32,
}

type Elements = Vec<(u32, SocketAddr)>;

/// After that, the agent's own changes may count as repairs.
const MOST_READINGS: u32 = 2;

/// Something happened to the packet path.
#[derive(Debug)]
pub enum PacketEvent {
    /// These are the node's devices now.
    Devices(Vec<Device>),
    /// Netfilter's rules are to be compared with what they should be, and its maps to be read.
    Ruleset,
    /// The maps were read.
    Elements(Result<Elements, NetfilterError>),
}

/// What was restored, for the counters of repairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    pub devices: usize,
    pub rules: usize,
    pub elements: usize,
}

/// The next event; never one if there is no packet path.
pub async fn next(packets: &mut Option<PacketPath>) -> PacketEvent {
    match packets.as_mut().and_then(|packets| packets.placed.as_mut()) {
        Some(placed) => placed.next().await,
        None => std::future::pending().await,
    }
}

impl PacketPath {
    /// Attaches the program to the devices that there are, and watches the rest.
    ///
    /// # Errors
    /// The kernel does not report changes of devices.
    pub fn start(
        packets: Packets,
        settings: &PacketSettings,
        every: Duration,
    ) -> anyhow::Result<Self> {
        let mut path = Self {
            placed: None,
            errors: Vec::new(),
        };
        let hook = match packets {
            Ok(hook) => hook,
            Err(error) => {
                path.set_errors(vec![error.to_string()]);
                return Ok(path);
            }
        };
        let (sender, devices) = mpsc::channel(16);
        kernel::watch_devices(settings.devices.clone(), sender)
            .context("cannot watch the node's devices")?;
        path.placed = Some(Placed {
            hook,
            devices,
            watch: None,
            reading: None,
            is_changed: false,
            next: Instant::now(),
            every,
        });
        path.set_devices(
            &kernel::list_devices(&settings.devices).context("cannot list the node's devices")?,
        );
        Ok(path)
    }

    /// Watches netfilter from now on. To be called when the tables are up to date.
    pub fn watch_netfilter(&mut self, maps: &Maps) {
        let (Some(placed), Some(netfilter)) = (&mut self.placed, maps.netfilter()) else {
            return;
        };
        match RulesetWatch::open(&netfilter.borrow()) {
            Ok(watch) => placed.watch = Some(watch),
            Err(error) => warn_of_watch(&error),
        }
        // The maps were compared at the start, and there has been little time since: the next comparison is a regular one.
        placed.next = Instant::now();
    }

    /// Attaches the program to new devices.
    pub fn set_devices(&mut self, devices: &[Device]) {
        let Some(placed) = &mut self.placed else {
            return;
        };
        let changes = placed.hook.attach(devices);
        if !changes.attached.is_empty() {
            tracing::info!(
                event = "packet_path.attached",
                devices = changes.attached.join(", "),
                count = placed.hook.devices().count(),
                "balancing the packets of these devices",
            );
        }
        self.log(changes);
    }

    /// Restores the program where another one has removed it.
    pub fn keep(&mut self) -> Restored {
        let Some(placed) = &mut self.placed else {
            return Restored::default();
        };
        let changes = placed.hook.keep();
        let restored = Restored {
            devices: changes.restored.len(),
            ..Restored::default()
        };
        self.log(changes);
        restored
    }

    /// Compares netfilter's rules with what they should be, repairs them, and begins to read the maps.
    pub fn check_ruleset(&mut self, engine: &mut Engine<Maps>) -> Restored {
        let mut restored = Restored::default();
        let Some(netfilter) = engine.tables().backing().netfilter() else {
            return restored;
        };
        let checked = netfilter.borrow_mut().check();
        match checked {
            Ok(repaired) => {
                restored.rules = repaired.parts.len();
                if restored.rules > 0 {
                    let parts: Vec<String> =
                        repaired.parts.iter().map(ToString::to_string).collect();
                    tracing::warn!(
                        event = "packet_path.ruleset_repaired",
                        parts = parts.join(", "),
                        "repaired the nftables table inet socklb, which another program had changed",
                    );
                }
                if repaired.has_lost_elements {
                    restored.elements = engine.repair_nat_from(&[]);
                    log_elements(restored.elements);
                }
            }
            Err(error) => tracing::error!(
                event = "packet_path.ruleset_not_repaired",
                %error,
                "cannot check or repair the nftables table inet socklb: trying again",
            ),
        }
        if let Some(placed) = &mut self.placed
            && placed.reading.is_none()
        {
            placed.reading = Some(Reading::start(engine, 0));
        }
        restored
    }

    /// Compares the elements that were read with what they should be, and repairs them.
    pub fn take_elements(
        &mut self,
        elements: Result<Elements, NetfilterError>,
        engine: &mut Engine<Maps>,
    ) -> Restored {
        let mut restored = Restored::default();
        let Some(placed) = &mut self.placed else {
            return restored;
        };
        let Some(reading) = placed.reading.take() else {
            return restored;
        };
        let is_current = reading.stores == engine.tables().nat_stores();
        match elements {
            _ if !is_current && reading.again < MOST_READINGS => {
                placed.reading = Some(Reading::start(engine, reading.again + 1));
            }
            Ok(elements) => {
                restored.elements = engine.repair_nat_from(&elements);
                log_elements(restored.elements);
            }
            Err(error) => tracing::warn!(
                event = "packet_path.nat_not_readable",
                %error,
                "cannot read the NAT maps of netfilter: trying again with the next check",
            ),
        }
        restored
    }

    /// What the rules of netfilter have counted.
    pub fn counters(engine: &Engine<Maps>) -> Option<PacketCounters> {
        let netfilter = engine.tables().backing().netfilter()?;
        netfilter.borrow_mut().counters().ok()
    }

    fn log(&mut self, changes: DeviceChanges) {
        for (device, cause) in changes.restored {
            tracing::warn!(
                event = "packet_path.restored",
                device,
                cause,
                "restored the program for packets on a device after another program had changed it",
            );
        }
        for (device, count) in changes.behind {
            tracing::warn!(
                event = "packet_path.behind",
                device,
                count,
                "other programs run before ours on this device: packets that they drop, accept or redirect get no Service; \
                 `bpftool net show dev` lists them",
            );
        }
        self.set_errors(changes.errors.iter().map(ToString::to_string).collect());
    }

    fn set_errors(&mut self, errors: Vec<String>) {
        if self.errors == errors {
            return;
        }
        for error in &errors {
            tracing::error!(
                event = "packet_path.failed",
                error,
                "the packet path is incomplete; sockets are served",
            );
        }
        self.errors = errors;
    }

    #[must_use]
    pub fn status(&self) -> PacketPathStatus {
        let hook = self.placed.as_ref().map(|placed| &placed.hook);
        let (run_count, run_time_ns) = hook.map(PacketHook::run_stats).unwrap_or_default();
        PacketPathStatus {
            program_id: hook.map_or(0, PacketHook::program),
            run_count,
            run_time_ns,
            devices: hook
                .into_iter()
                .flat_map(PacketHook::devices)
                .map(str::to_owned)
                .collect(),
            trouble: self.errors.clone(),
        }
    }
}

impl Reading {
    fn start(engine: &Engine<Maps>, again: u32) -> Self {
        Self {
            thread: tokio::task::spawn_blocking(kernel::nat_elements),
            stores: engine.tables().nat_stores(),
            again,
        }
    }
}

fn warn_of_watch(error: &NetfilterError) {
    tracing::warn!(
        event = "packet_path.watch_failed",
        %error,
        "cannot watch nftables: a change is noticed with the next check",
    );
}

fn log_elements(count: usize) {
    if count > 0 {
        tracing::warn!(
            event = "packet_path.elements_repaired",
            count,
            "repaired elements of the NAT maps, which another program had changed",
        );
    }
}

impl Placed {
    /// Cancel safe.
    async fn next(&mut self) -> PacketEvent {
        loop {
            let due = match self.is_changed {
                true => self.next,
                false => self.next + self.every,
            };
            tokio::select! {
                Some(mut devices) = self.devices.recv() => {
                    while let Ok(later) = self.devices.try_recv() {
                        devices = later;
                    }
                    return PacketEvent::Devices(devices);
                }
                read = read(&mut self.reading) => return PacketEvent::Elements(read),
                changed = changed(&mut self.watch), if !self.is_changed => {
                    if let Err(error) = changed {
                        warn_of_watch(&error);
                        self.watch = None;
                    }
                    self.is_changed = true;
                }
                () = tokio::time::sleep_until(due.into()) => {
                    self.is_changed = false;
                    self.next = Instant::now() + PAUSE;
                    return PacketEvent::Ruleset;
                }
            }
        }
    }
}

/// The elements that the other thread has read; never any if it does not read.
async fn read(reading: &mut Option<Reading>) -> Result<Elements, NetfilterError> {
    let Some(reading) = reading else {
        return std::future::pending().await;
    };
    match (&mut reading.thread).await {
        Ok(elements) => elements,
        // The thread panicked.
        Err(error) => Err(NetfilterError::System {
            action: "read",
            error: std::io::Error::other(error),
        }),
    }
}

async fn changed(watch: &mut Option<RulesetWatch>) -> Result<(), NetfilterError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
