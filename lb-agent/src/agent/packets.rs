//! The packet path while the agent runs: devices that come and go, and what other programs change.

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::kernel::{self, Device, DeviceChanges, PacketHook, PacketSettings};
use crate::serve::PacketPathStatus;

/// The program on the node's devices.
#[derive(Debug)]
pub struct PacketPath {
    hook: PacketHook,
    devices: mpsc::Receiver<Vec<Device>>,
    /// What could not be attached or restored last time.
    errors: Vec<String>,
    restored: u64,
}

/// What happened to the packet path.
#[derive(Debug)]
pub enum PacketEvent {
    /// These are the node's devices now.
    Devices(Vec<Device>),
}

/// The next event; never one if there is no packet path.
pub async fn next(packets: &mut Option<PacketPath>) -> PacketEvent {
    match packets {
        Some(packets) => packets.next().await,
        None => std::future::pending().await,
    }
}

impl PacketPath {
    /// # Errors
    /// The kernel does not report changes of devices.
    pub fn start(hook: PacketHook, settings: &PacketSettings) -> anyhow::Result<Self> {
        let (sender, devices) = mpsc::channel(16);
        kernel::watch_devices(settings.devices.clone(), sender)
            .context("cannot watch the node's devices")?;
        Ok(Self {
            hook,
            devices,
            errors: Vec::new(),
            restored: 0,
        })
    }

    async fn next(&mut self) -> PacketEvent {
        match self.devices.recv().await {
            Some(mut devices) => {
                while let Ok(later) = self.devices.try_recv() {
                    devices = later;
                }
                PacketEvent::Devices(devices)
            }
            None => std::future::pending().await,
        }
    }

    pub fn set_devices(&mut self, devices: &[Device]) {
        let changes = self.hook.attach(devices);
        if !changes.attached.is_empty() {
            tracing::info!(
                event = "packet_path.attached",
                devices = changes.attached.join(", "),
                count = self.hook.devices().count(),
                "balancing the packets of these devices",
            );
        }
        self.log(changes);
    }

    /// Restores what another program has removed.
    pub fn keep(&mut self) {
        let changes = self.hook.keep();
        self.log(changes);
    }

    fn log(&mut self, changes: DeviceChanges) {
        if !changes.restored.is_empty() {
            self.restored += changes.restored.len() as u64;
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
                 see `bpftool net show dev` for them",
            );
        }
        let errors: Vec<String> = changes.errors.iter().map(ToString::to_string).collect();
        if self.errors != errors {
            for error in &errors {
                tracing::error!(
                    event = "packet_path.device_failed",
                    error,
                    "a device is left out"
                );
            }
            self.errors = errors;
        }
    }

    #[must_use]
    pub fn status(&self) -> PacketPathStatus {
        let (run_count, run_time_ns) = self.hook.run_stats();
        PacketPathStatus {
            program_id: self.hook.program(),
            run_count,
            run_time_ns,
            devices: self.hook.devices().map(str::to_owned).collect(),
            trouble: self.errors.clone(),
        }
    }
}
