//! Clients that connect while everything changes: none fails, and none reaches another Service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, NamedServer, Pod, connect_name, sandboxed};

use crate::support::{
    PORT, TARGET, Web, agent, backends, cluster_ip, eventually, status, wait_for_backends,
    write_service,
};

/// Does something in a loop, such as connecting, until it is dropped.
pub struct Client {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    thread: Option<JoinHandle<std::io::Result<Vec<String>>>>,
}

impl Client {
    /// Connects, and checks each answer with `is_right`.
    pub fn start(
        pod: &Pod,
        to: SocketAddr,
        is_right: impl Fn(&std::io::Result<String>) -> bool + Send + 'static,
    ) -> Self {
        Self::repeat(pod, move || {
            let answer = connect_name(to);
            match is_right(&answer) {
                true => Ok(()),
                false => Err(format!("{answer:?}")),
            }
        })
    }

    /// Runs rounds, each of which returns its errors.
    pub fn repeat(
        pod: &Pod,
        mut turn: impl FnMut() -> Result<(), String> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&turns));
        let thread = pod.spawn(move || {
            let mut wrong = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                wrong.extend(turn().err());
                counted.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        });
        Self {
            stop,
            turns,
            thread: Some(thread),
        }
    }

    /// The number of rounds so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Fails if any round was wrong; returns the number of rounds.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it runs until now")?;
        let wrong = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        let turns = self.turns();
        ensure!(
            wrong.is_empty(),
            "{} of {turns} were wrong, such as {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        ensure!(turns > 0, "no turn was taken");
        Ok(turns)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_connect_fails_while_backends_are_replaced() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 6, 3)?;
        let all = web.servers.ipv4();

        let to = Web::ADDRESS;
        let clients = [(), ()].map(|()| Client::start(&web.client, to, Result::is_ok));
        for round in 0..60 {
            let backends: Vec<IpAddr> = (0..3).map(|i| all[(round + i) % 6]).collect();
            write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
            wait_for_backends(&web.agent, "web", &backends)?;
        }
        for client in clients {
            client.finish()?;
        }
        Ok(())
    });
}

/// Whether a Service is in effect or not.
fn has(agent: &Agent, number: u8, wanted: bool) -> Result<bool> {
    let name = format!("service-{number}");
    Ok(backends(agent)?.iter().any(|b| b.name == name) == wanted)
}

#[test]
fn no_connect_reaches_another_service() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(4)?;
        let client = sandbox.pod("client")?;
        let _servers = pods
            .iter()
            .map(|pod| NamedServer::tcp(pod, TARGET, pod.name()))
            .collect::<Result<Vec<_>>>()?;
        let manifests = sandbox.manifests()?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let write = |number: u8| {
            let backend = pods[usize::from(number)].ipv4().into();
            write_service(
                &manifests,
                &format!("service-{number}"),
                cluster_ip(number),
                &[backend],
            )
        };
        // Each pod is the backend of one Service only, so its name shows which Service a connect reached. A connect to no
        // Service fails, since there is no route.
        let clients: Vec<Client> = (0..4)
            .map(|number| {
                let own = pods[usize::from(number)].name().to_owned();
                let to = SocketAddr::from((cluster_ip(number), PORT));
                Client::start(&client, to, move |answer| match answer {
                    Ok(name) => *name == own,
                    // Refused while the Service is being removed: its ClusterIP no longer has that port.
                    Err(error) => matches!(
                        error.raw_os_error(),
                        Some(libc::ENETUNREACH | libc::ECONNREFUSED)
                    ),
                })
            })
            .collect();
        // The next Service gets the ids and cells that one Service frees.
        for round in 0..60_u8 {
            let (number, other) = (round % 4, (round + 2) % 4);
            write(number)?;
            eventually("the Service exists", || has(&agent, number, true))?;
            if round >= 2 {
                manifests.remove(&format!("service-{other}.json"))?;
                eventually("the Service is gone", || has(&agent, other, false))?;
            }
        }
        for client in clients {
            client.finish()?;
        }
        eventually(
            "nothing is quarantined",
            || Ok(status(&agent)?.resting == 0),
        )?;
        Ok(())
    });
}
