//! A packet path that is in place, and what happens to it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::reading::{Elements, Reading, read};
use crate::kernel::{
    self, Device, DevicePattern, Netfilter, NetfilterError, PacketHook, Ruleset, RulesetWatch,
};

/// The least time between two comparisons of netfilter's rules and maps, so that another program that changes them all the time
/// does not keep the main loop busy.
const PAUSE: Duration = Duration::from_millis(200);

/// The attached program, and what reports changes.
#[derive(Debug)]
pub struct Placed {
    pub hook: PacketHook,
    /// The rules of netfilter, as they should be.
    pub ruleset: Ruleset,
    /// The node's devices, after each change.
    devices: mpsc::Receiver<Vec<Device>>,
    /// The devices to attach the program to when there are rules.
    pub devices_seen: Vec<Device>,
    pub watch: Watching,
    /// The NAT maps are being read.
    pub reading: Option<Reading>,
    /// Another program has changed our rules or maps since the last comparison.
    is_changed: bool,
    /// When the next comparison may be.
    pub next: Instant,
    /// How often to compare anyway.
    every: Duration,
}

/// How changes of nftables by other programs are noticed. Without messages from the kernel, only the regular comparison finds them.
#[derive(Debug)]
pub enum Watching {
    /// Before the first synchronization, which would take longer with it.
    NotYet,
    Open(RulesetWatch),
    /// Tried again with the next comparison.
    Failed,
}

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

impl Placed {
    /// `patterns`: the devices that the packet path uses. `every`: how often to compare rules and maps.
    ///
    /// # Errors
    /// The kernel does not report changes of devices.
    pub fn new(
        hook: PacketHook,
        ruleset: Ruleset,
        patterns: &[DevicePattern],
        every: Duration,
    ) -> anyhow::Result<Self> {
        let (sender, devices) = mpsc::channel(16);
        kernel::watch_devices(patterns.to_vec(), sender)
            .context("cannot watch the node's devices")?;
        Ok(Self {
            hook,
            ruleset,
            devices,
            devices_seen: Vec::new(),
            watch: Watching::NotYet,
            reading: None,
            is_changed: false,
            next: Instant::now(),
            every,
        })
    }

    /// Cancel safe.
    pub async fn next(&mut self) -> PacketEvent {
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
                        self.watch.fail(&error);
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

impl Watching {
    /// Watches from now on.
    pub fn open(&mut self, netfilter: &Netfilter) {
        match RulesetWatch::open(netfilter) {
            Ok(watch) => *self = Self::Open(watch),
            Err(error) => self.fail(&error),
        }
    }

    /// Watches again if that failed. To be called before a comparison, which finds the changes until then.
    pub fn open_again(&mut self, netfilter: &Netfilter) {
        if !matches!(self, Self::Failed) {
            return;
        }
        if let Ok(watch) = RulesetWatch::open(netfilter) {
            tracing::info!(
                event = "packet_path.watch_recovered",
                "watching nftables again",
            );
            *self = Self::Open(watch);
        }
    }

    fn fail(&mut self, error: &NetfilterError) {
        tracing::warn!(
            event = "packet_path.watch_failed",
            %error,
            "cannot watch nftables: a change is noticed with the next check, which tries to watch again",
        );
        *self = Self::Failed;
    }
}

async fn changed(watch: &mut Watching) -> Result<(), NetfilterError> {
    match watch {
        Watching::Open(watch) => watch.changed().await,
        Watching::NotYet | Watching::Failed => std::future::pending().await,
    }
}
