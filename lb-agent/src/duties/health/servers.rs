//! The thread that answers load balancers. It starts and stops a server for each Service.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::HealthView;
use super::listener::{allow_many_files, listen, remedy};
use super::routes::{self, ServiceAnswer};
use crate::catalog::{Kind, ObjectId, ObjectName, Problem};
use crate::duties::DutyMetrics;
use crate::policy::HealthCheck;
use crate::serve::{Serving, serve_connections};

/// How often to try again to listen on what another process has. kube-proxy tries --healthz-bind-address as often.
const RETRY: Duration = Duration::from_secs(5);

/// What the servers need from the start.
#[derive(Debug)]
pub struct HealthSettings {
    /// The address for `/healthz` and `/livez`, if any. An unspecified one means all addresses of both families.
    pub healthz: Option<SocketAddr>,
    pub health: HealthView,
    pub metrics: DutyMetrics,
}

/// Why no load balancer gets an answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that answers load balancers: {0}")]
pub struct HealthServersError(#[from] io::Error);

/// A thread that listens and answers until it is closed, or this value is dropped.
#[derive(Debug)]
pub struct HealthServers {
    wanted: watch::Sender<Wanted>,
    problems: watch::Receiver<Vec<Problem>>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    services: BTreeMap<ObjectName, HealthCheck>,
    /// None: all addresses of the node.
    addresses: Option<Vec<IpAddr>>,
}

impl HealthServers {
    /// # Errors
    /// The thread, or its runtime, cannot be started. An address that is in use is a problem instead, and is tried again.
    pub fn start(settings: HealthSettings) -> Result<Self, HealthServersError> {
        let (wanted, wishes) = watch::channel(Wanted::default());
        let (problem_sender, problems) = watch::channel(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            allow_many_files();
            let servers = Servers {
                settings,
                running: BTreeMap::new(),
                failed: BTreeMap::new(),
                problems: problem_sender,
            };
            runtime.block_on(servers.run(wishes));
        };
        let thread = thread::Builder::new()
            .name("health".to_owned())
            .spawn(work)?;
        Ok(Self {
            wanted,
            problems,
            thread,
        })
    }

    /// Sets the Services that load balancers ask about.
    pub fn set_services(&self, services: &BTreeMap<ObjectName, HealthCheck>) {
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.services != *services;
            if differs {
                wanted.services.clone_from(services);
            }
            differs
        });
    }

    /// Sets the addresses on which Services' health checks listen; none: all addresses of the node. kube-proxy listens
    /// on those that `--nodeport-addresses` selects.
    pub fn set_addresses(&self, addresses: Option<Vec<IpAddr>>) {
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.addresses != addresses;
            wanted.addresses = addresses;
            differs
        });
    }

    /// The addresses that cannot be listened on, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.borrow().clone()
    }

    /// Closes all ports. Blocks until the thread has ended: a second at most if a client does not read its answer.
    pub fn close(self) {
        drop(self.wanted);
        if self.thread.join().is_err() {
            tracing::error!(
                event = "health.thread_panicked",
                "the thread that answers load balancers has ended by itself",
            );
        }
    }
}

/// What a server is for. Its order is that of the problems.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Healthz,
    Service(ObjectName),
}

type Key = (Purpose, SocketAddr);

struct Running {
    serving: Serving,
    local_endpoints: Arc<AtomicUsize>,
}

/// The thread's own state.
struct Servers {
    settings: HealthSettings,
    running: BTreeMap<Key, Running>,
    failed: BTreeMap<Key, Problem>,
    problems: watch::Sender<Vec<Problem>>,
}

impl Servers {
    async fn run(mut self, mut wishes: watch::Receiver<Wanted>) {
        loop {
            let wanted = wishes.borrow_and_update().clone();
            self.follow(&wanted).await;
            let retry = tokio::time::sleep(RETRY);
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() {
                    break;
                },
                () = retry, if !self.failed.is_empty() => {}
            }
        }
        let all = std::mem::take(&mut self.running);
        close(all.into_values()).await;
    }

    async fn follow(&mut self, wanted: &Wanted) {
        let wishes = self.wishes(wanted);
        for (key, running) in &self.running {
            if let Some(&count) = wishes.get(key) {
                running.local_endpoints.store(count, Ordering::Relaxed);
            }
        }
        let gone = self
            .running
            .extract_if(.., |key, _| !wishes.contains_key(key));
        close(gone.map(|(_, running)| running)).await;
        self.failed.retain(|key, _| wishes.contains_key(key));
        for (key, count) in wishes {
            if !self.running.contains_key(&key) {
                self.open(key, count);
            }
        }
        self.problems.send_if_modified(|problems| {
            let now = self.failed.values().cloned().collect();
            let before = std::mem::replace(problems, now);
            before != *problems
        });
    }

    /// The servers that must run, with their numbers of endpoints.
    fn wishes(&self, wanted: &Wanted) -> BTreeMap<Key, usize> {
        let all = [IpAddr::from(Ipv4Addr::UNSPECIFIED)];
        let addresses = wanted.addresses.as_deref().unwrap_or(&all);
        let healthz = self.settings.healthz.map(|at| ((Purpose::Healthz, at), 0));
        let services = wanted.services.iter().flat_map(|(name, check)| {
            addresses.iter().map(move |&address| {
                let at = SocketAddr::new(address, check.port);
                ((Purpose::Service(name.clone()), at), check.local_endpoints)
            })
        });
        healthz.into_iter().chain(services).collect()
    }

    fn open(&mut self, key: Key, count: usize) {
        let (purpose, address) = &key;
        let listener = match listen(*address) {
            Ok(listener) => listener,
            Err(error) => {
                let problem = problem(purpose, *address, &error);
                if self.failed.get(&key) != Some(&problem) {
                    tracing::warn!(
                        event = "health.listen_failed",
                        %problem,
                        "cannot answer load balancers on an address",
                    );
                }
                self.failed.insert(key, problem);
                return;
            }
        };
        tracing::info!(
            event = "health.listening",
            service = match purpose {
                Purpose::Healthz => String::new(),
                Purpose::Service(name) => name.to_string(),
            },
            %address,
            "answering load balancers on an address",
        );
        let local_endpoints = Arc::new(AtomicUsize::new(count));
        let health = self.settings.health.clone();
        let router = match purpose {
            Purpose::Healthz => routes::healthz(health, self.settings.metrics.clone()),
            Purpose::Service(name) => routes::service(ServiceAnswer {
                name: name.clone(),
                local_endpoints: Arc::clone(&local_endpoints),
                health,
            }),
        };
        let serving = Serving::start(|closed| serve_connections(listener, router, closed));
        self.failed.remove(&key);
        self.running.insert(
            key,
            Running {
                serving,
                local_endpoints,
            },
        );
    }
}

/// All at once, since each may wait for its clients.
async fn close(servers: impl Iterator<Item = Running>) {
    join_all(servers.map(|running| running.serving.close())).await;
}

fn problem(purpose: &Purpose, address: SocketAddr, error: &io::Error) -> Problem {
    let remedy = remedy(error);
    match purpose {
        Purpose::Healthz => Problem {
            object: format!("--healthz {address}"),
            message: format!("cannot listen: {error}; {remedy}"),
        },
        Purpose::Service(name) => Problem::of(
            &ObjectId::new(Kind::Service, name.clone()),
            format!(
                "cannot listen on {address} for spec.healthCheckNodePort: {error}; {remedy}; \
                 until then load balancers take this node for one without endpoints"
            ),
        ),
    }
}
