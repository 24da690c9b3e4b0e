//! Servers of unequal speed. Each answers one client at a time; the others wait in its queue.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use lb_testbed::{Pod, Sandbox};

use crate::pod::listen_on;
use crate::services::BACKEND_PORT;

/// How often a server checks whether to stop.
const CHECK_EVERY: Duration = Duration::from_millis(1);

/// The time that each server takes for an answer.
pub(super) const TIMES: [Duration; 6] = [FAST, FAST, FAST, FAST, SLOW, SLOW];
pub(super) const FAST: Duration = Duration::from_millis(2);
pub(super) const SLOW: Duration = Duration::from_millis(8);

/// All servers, in one pod.
#[derive(Debug)]
pub(super) struct Servers {
    // Its namespace ends with it.
    _pod: Pod,
    stop: Arc<AtomicBool>,
    /// Answers of the slow servers.
    slow: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

/// The addresses of the servers.
pub(super) fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    (101..)
        .take(TIMES.len())
        .map(|last| Ipv4Addr::new(10, 244, 0, last))
}

impl Servers {
    pub(super) fn start(sandbox: &Sandbox) -> Result<Self> {
        let pod = sandbox.pod("servers")?;
        pod.add_addresses(addresses().map(IpAddr::from))?;
        let stop = Arc::new(AtomicBool::new(false));
        let slow = Arc::new(AtomicU64::new(0));
        let listeners = pod.enter(|| {
            addresses()
                .map(|at| listen_on(at, BACKEND_PORT))
                .collect::<Result<Vec<_>>>()
        })??;
        let threads = listeners
            .into_iter()
            .zip(TIMES)
            .map(|(listener, time)| {
                let stop = Arc::clone(&stop);
                let slow = Arc::clone(&slow);
                thread::spawn(move || serve(&listener, time, &stop, &slow))
            })
            .collect();
        Ok(Self {
            _pod: pod,
            stop,
            slow,
            threads,
        })
    }

    /// Answers of the slow servers so far.
    pub(super) fn slow_answers(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
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

fn serve(listener: &TcpListener, time: Duration, stop: &AtomicBool, slow: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut client, _)) => {
                thread::sleep(time);
                if time == SLOW {
                    slow.fetch_add(1, Ordering::Relaxed);
                }
                // The client notices a broken connection itself.
                let _ = client.write_all(b"!");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(CHECK_EVERY),
            Err(error) => {
                eprintln!("bench: a server stopped: {error}");
                return;
            }
        }
    }
}
