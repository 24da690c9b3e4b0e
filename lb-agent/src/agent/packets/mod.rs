//! The packet path while the agent runs: devices that come and go, and what other programs change.

mod errors;
mod log;
mod placed;
mod reading;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;

pub use self::placed::PacketEvent;

use self::errors::Errors;
use self::log::{log_changes, log_elements, log_parts};
use self::placed::Placed;
use self::reading::{Elements, MOST_READINGS, Reading};
use super::engine::Engine;
use crate::kernel::{
    self, Device, Maps, NetfilterError, PacketCounters, PacketHook, PacketProgramError,
    PacketSettings, Packets,
};
use crate::serve::PacketPathStatus;

/// The packet path, in place or not, and what does not work of it.
#[derive(Debug)]
pub struct PacketPath {
    placed: Result<Placed, PacketProgramError>,
    /// Netfilter could be used once. Before, the program is attached to no device.
    has_rules: bool,
    /// Why the rules of netfilter could not be made, checked or repaired last time.
    ruleset_error: Option<NetfilterError>,
    /// Why the NAT maps could not be read last time.
    elements_error: Option<NetfilterError>,
    errors: Errors,
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
    match packets.as_mut().map(|packets| &mut packets.placed) {
        Some(Ok(placed)) => placed.next().await,
        _ => std::future::pending().await,
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
        let (placed, ruleset_error) = match packets {
            Ok(opened) => {
                let placed = Placed::new(opened.hook, opened.ruleset, &settings.devices, every)?;
                (Ok(placed), opened.error)
            }
            Err(error) => (Err(error), None),
        };
        let mut path = Self {
            has_rules: placed.is_ok() && ruleset_error.is_none(),
            placed,
            ruleset_error,
            elements_error: None,
            errors: Errors::default(),
        };
        if path.placed.is_ok() {
            let devices = kernel::list_devices(&settings.devices);
            path.set_devices(devices.context("cannot list the node's devices")?);
        }
        path.update_errors();
        Ok(path)
    }

    /// Whether program and rules are in place. Rules that another program damaged later are too: they are repaired.
    #[must_use]
    pub const fn is_in_place(&self) -> bool {
        self.has_rules
    }

    /// Whether packets get a Service: at least those of devices without an error.
    #[must_use]
    pub const fn works(&self) -> bool {
        self.placed.is_ok() && self.ruleset_error.is_none()
    }

    /// Watches netfilter from now on. To be called when the tables are up to date.
    pub fn watch_netfilter(&mut self, maps: &Maps) {
        let (Ok(placed), Some(netfilter)) = (&mut self.placed, maps.netfilter()) else {
            return;
        };
        placed.watch.open(&netfilter.borrow());
        // The maps were compared at the start, and there has been little time since: the next comparison is a regular one.
        placed.next = Instant::now();
    }

    /// Tries again to make the rules of netfilter, and puts the packet path in place if that works. Returns whether it does.
    pub fn put_in_place(&mut self, engine: &mut Engine<Maps>) -> bool {
        let Ok(placed) = &mut self.placed else {
            return false;
        };
        let opened = kernel::open_ruleset(placed.ruleset).and_then(|netfilter| {
            placed.watch.open(&netfilter);
            let begun = engine.begin_nat(|maps| maps.use_nat(netfilter));
            begun.map_err(NetfilterError::reading)
        });
        self.has_rules = opened.is_ok();
        self.ruleset_error = opened.err();
        let devices = std::mem::take(&mut placed.devices_seen);
        self.set_devices(devices);
        self.has_rules
    }

    /// Attaches the program to new devices, once there are rules that apply its verdicts.
    pub fn set_devices(&mut self, devices: Vec<Device>) {
        let Ok(placed) = &mut self.placed else {
            return;
        };
        if !self.has_rules {
            placed.devices_seen = devices;
            self.update_errors();
            return;
        }
        let changes = placed.hook.attach(&devices);
        if !changes.attached.is_empty() {
            tracing::info!(
                event = "packet_path.attached",
                devices = changes.attached.join(", "),
                count = placed.hook.devices().count(),
                "balancing the packets of these devices",
            );
        }
        log_changes(changes);
        self.update_errors();
    }

    /// Restores the program where another one has removed it, and attaches it where that failed before.
    pub fn keep(&mut self) -> Restored {
        let Ok(placed) = &mut self.placed else {
            return Restored::default();
        };
        let changes = placed.hook.keep();
        let restored = Restored {
            devices: changes.restored.len(),
            ..Restored::default()
        };
        log_changes(changes);
        self.update_errors();
        restored
    }

    /// Compares netfilter's rules with what they should be, repairs them, and begins to read the maps.
    pub fn check_ruleset(&mut self, engine: &mut Engine<Maps>) -> Restored {
        let mut restored = Restored::default();
        let Some(netfilter) = engine.tables().backing().netfilter() else {
            return restored;
        };
        if let Ok(placed) = &mut self.placed {
            placed.watch.open_again(&netfilter.borrow());
        }
        let checked = netfilter.borrow_mut().check();
        self.ruleset_error = match checked {
            Ok(repaired) => {
                restored.rules = repaired.parts.len();
                log_parts(&repaired.parts);
                if repaired.has_lost_elements {
                    restored.elements = engine.repair_nat_from(&[]);
                    log_elements(restored.elements);
                }
                None
            }
            Err(error) => Some(error),
        };
        if self.ruleset_error.is_none()
            && let Ok(placed) = &mut self.placed
            && placed.reading.is_none()
        {
            placed.reading = Some(Reading::start(engine, 0));
        }
        self.update_errors();
        restored
    }

    /// Compares the elements that were read with what they should be, and repairs them.
    pub fn take_elements(
        &mut self,
        elements: Result<Elements, NetfilterError>,
        engine: &mut Engine<Maps>,
    ) -> Restored {
        let mut restored = Restored::default();
        let Ok(placed) = &mut self.placed else {
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
                if is_current && let Some(netfilter) = engine.tables().backing().netfilter() {
                    netfilter.borrow_mut().saw(&elements);
                }
                restored.elements = engine.repair_nat_from(&elements);
                log_elements(restored.elements);
                self.elements_error = None;
            }
            Err(error) => self.elements_error = Some(error),
        }
        self.update_errors();
        restored
    }

    /// What the rules of netfilter have counted.
    pub fn counters(engine: &Engine<Maps>) -> Option<PacketCounters> {
        let netfilter = engine.tables().backing().netfilter()?;
        netfilter.borrow_mut().counters().ok()
    }

    fn update_errors(&mut self) {
        let of_netfilter = self.ruleset_error.iter().chain(&self.elements_error);
        let mut errors: BTreeSet<String> = of_netfilter.map(ToString::to_string).collect();
        match &self.placed {
            Ok(placed) => errors.extend(placed.hook.errors().map(ToString::to_string)),
            Err(error) => drop(errors.insert(error.to_string())),
        }
        self.errors.update(errors);
    }

    /// The number of errors that hold now.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors.all().len()
    }

    #[must_use]
    pub fn status(&self) -> PacketPathStatus {
        let hook = self.placed.as_ref().ok().map(|placed| &placed.hook);
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
            trouble: self.errors.all(),
        }
    }
}
