//! The packet path while the agent runs: devices that come and go, and what other programs change.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::engine::Engine;
use crate::kernel::{
    self, Device, DeviceChanges, Maps, PacketCounters, PacketHook, PacketSettings, Packets,
    RulesetWatch,
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
    watch: RulesetWatch,
    /// Another program has changed our rules or maps since the last comparison.
    is_changed: bool,
    /// When the next comparison may be.
    next: Instant,
    /// How often to compare anyway.
    every: Duration,
}

/// Something happened to the packet path.
#[derive(Debug)]
pub enum PacketEvent {
    /// These are the node's devices now.
    Devices(Vec<Device>),
    /// Netfilter's rules and maps are to be compared with what they should be.
    Ruleset,
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
        maps: &Maps,
    ) -> anyhow::Result<Self> {
        let mut path = Self {
            placed: None,
            errors: Vec::new(),
        };
        let watch = maps
            .netfilter()
            .map(|nat| RulesetWatch::open(&nat.borrow()));
        let (hook, watch) = match (packets, watch.transpose()) {
            (Ok(hook), Ok(Some(watch))) => (hook, watch),
            (Err(error), _) => {
                path.set_errors(vec![error.to_string()]);
                return Ok(path);
            }
            (_, Err(error)) => {
                path.set_errors(vec![error.to_string()]);
                return Ok(path);
            }
            (Ok(_), Ok(None)) => return Ok(path),
        };
        let (sender, devices) = mpsc::channel(16);
        kernel::watch_devices(settings.devices.clone(), sender)
            .context("cannot watch the node's devices")?;
        path.placed = Some(Placed {
            hook,
            devices,
            watch,
            is_changed: false,
            next: Instant::now(),
            every,
        });
        path.set_devices(
            &kernel::list_devices(&settings.devices).context("cannot list the node's devices")?,
        );
        Ok(path)
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

    /// Compares netfilter's rules and maps with what they should be, and repairs them.
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
            }
            Err(error) => tracing::error!(
                event = "packet_path.ruleset_not_repaired",
                %error,
                "cannot check or repair the nftables table inet socklb: trying again",
            ),
        }
        restored.elements = engine.repair_nat();
        if restored.elements > 0 {
            tracing::warn!(
                event = "packet_path.elements_repaired",
                count = restored.elements,
                "repaired elements of the NAT maps, which another program had changed",
            );
        }
        restored
    }

    /// What the rules of netfilter have counted.
    pub fn counters(engine: &Engine<Maps>) -> Option<PacketCounters> {
        let netfilter = engine.tables().backing().netfilter()?;
        netfilter.borrow_mut().counters().ok()
    }

    fn log(&mut self, changes: DeviceChanges) {
        if !changes.restored.is_empty() {
            tracing::warn!(
                event = "packet_path.restored",
                devices = changes.restored.join(", "),
                "attached the program for packets again after another program had removed it",
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
                changed = self.watch.changed(), if !self.is_changed => {
                    if let Err(error) = changed {
                        tracing::warn!(
                            event = "packet_path.watch_failed",
                            %error,
                            "cannot watch nftables: a change is noticed with the next check",
                        );
                        self.next = Instant::now() + PAUSE;
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
