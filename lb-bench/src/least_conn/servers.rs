//! Servers of unequal speed. Each answers one client at a time, with its number; the others wait in its queue.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_testbed::{Pod, Sandbox};

use crate::pod::listen_on;
use crate::services::BACKEND_PORT;

/// How often a server checks whether to stop.
const CHECK_EVERY: Duration = Duration::from_millis(1);

/// How many times as long a cold server takes for its first answer.
const COLD_FACTOR: f64 = 4.0;
/// The time after its first client in which a cold server becomes as fast as others.
const COLD_FOR: Duration = Duration::from_secs(3);

/// What a server takes for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speed {
    pub(super) takes: Duration,
    /// It takes longer at first, as one that fills its caches.
    pub(super) is_cold: bool,
}

impl Speed {
    pub(super) const fn of_millis(millis: u64) -> Self {
        Self {
            takes: Duration::from_millis(millis),
            is_cold: false,
        }
    }

    pub(super) const fn cold(self) -> Self {
        Self {
            is_cold: true,
            ..self
        }
    }

    /// `first_client`: when the server had its first one.
    fn now(self, first_client: Instant) -> Duration {
        let warm = first_client.elapsed().as_secs_f64() / COLD_FOR.as_secs_f64();
        match self.is_cold && warm < 1.0 {
            true => self.takes.mul_f64(COLD_FACTOR - (COLD_FACTOR - 1.0) * warm),
            false => self.takes,
        }
    }
}

/// All servers, in one pod.
#[derive(Debug)]
pub(super) struct Servers {
    // Its namespace ends with it.
    _pod: Pod,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// The address of a server.
pub(super) fn address(server: usize) -> Ipv4Addr {
    let last = u8::try_from(101 + server).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 244, 0, last)
}

impl Servers {
    /// Each answers with its index.
    pub(super) fn start(sandbox: &Sandbox, speeds: &[Speed]) -> Result<Self> {
        let pod = sandbox.pod("servers")?;
        let addresses = || (0..speeds.len()).map(address);
        pod.add_addresses(addresses().map(IpAddr::from))?;
        let stop = Arc::new(AtomicBool::new(false));
        let listeners = pod.enter(|| {
            addresses()
                .map(|at| listen_on(at, BACKEND_PORT))
                .collect::<Result<Vec<_>>>()
        })??;
        let threads = (0..)
            .zip(listeners.into_iter().zip(speeds.iter().copied()))
            .map(|(number, (listener, speed))| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || serve(&listener, number, speed, &stop))
            })
            .collect();
        Ok(Self {
            _pod: pod,
            stop,
            threads,
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, number: u8, speed: Speed, stop: &AtomicBool) {
    let mut first_client = None;
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut client, _)) => {
                let first_client = *first_client.get_or_insert_with(Instant::now);
                thread::sleep(speed.now(first_client));
                // The client notices a broken connection itself.
                let _ = client.write_all(&[number]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(CHECK_EVERY),
            Err(error) => {
                eprintln!("bench: a server stopped: {error}");
                return;
            }
        }
    }
}
