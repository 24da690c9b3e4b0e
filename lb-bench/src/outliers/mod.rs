//! `bench outliers`: connects to a Service of which one of three backends fails, with and without outlier detection.
//!
//! A client connects 200 times a second, whatever becomes of earlier connects, and closes each connection at once. The Service stays as
//! it is: the API knows nothing of the fault.

mod connects;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_testbed::{
    Agent, AgentProcess, Family, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest,
};
use serde::Serialize;

use self::connects::{Connect, EVERY, connect_steadily};
use crate::Options;
use crate::services::{BACKEND_PORT, PORT, frontend};
use crate::verdict::verdict;

/// The fault begins this long after the first connect.
const HEALTHY: Duration = Duration::from_secs(1);

/// A connect that takes longer is slow.
const SLOW: Duration = Duration::from_millis(1_200);

/// Later connects that are slow or fail are those of trials, or of a fault that is not avoided.
const SETTLED: Duration = Duration::from_secs(2);

/// The port of the overloaded server.
const OVERLOADED: u16 = 8_081;

/// How long the overloaded server needs for a connection.
const NEEDS: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// It answers no SYN, as if its node were gone.
    Silent,
    /// It refuses connections.
    Refusing,
    /// It accepts ten connections a second, fewer than it gets, and its queue is short.
    Overloaded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Balancer {
    /// The rule that kube-proxy's nftables mode writes for such a Service.
    KubeProxysRule,
    Off,
    On,
    /// With `--syn-timeout 300ms`.
    SynTimeout,
    /// With `--syn-timeout 300ms` and `--abort-hanging`.
    BothFlags,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
struct OutlierRow {
    fault: Fault,
    balancer: Balancer,
    /// Connects after the fault.
    connects: usize,
    /// Those that were refused, or not established within [`connects::PATIENCE`].
    failed: usize,
    /// How long the client of such a connect waited; the median.
    failed_after_ms: Option<f64>,
    /// Those that took longer than [`SLOW`].
    slow: usize,
    /// From the first connect that failed or was slow to the beginning of the last such one before [`SETTLED`].
    avoided_after_ms: Option<f64>,
    /// Connects after [`SETTLED`] that failed or were slow.
    later: usize,
    /// Trials, of which each may let one connect fail, at most.
    trials: usize,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let bench = OutlierBench::new(options, sandbox)?;
    let mut rows = Vec::new();
    println!(
        "{:<11} {:<17} {:>8} {:>7} {:>15} {:>6} {:>17} {:>6} {:>7}",
        "backend",
        "balancer",
        "connects",
        "failed",
        "failed after ms",
        "slow",
        "avoided after ms",
        "later",
        "trials"
    );
    for fault in [Fault::Silent, Fault::Refusing, Fault::Overloaded] {
        for balancer in [
            Balancer::KubeProxysRule,
            Balancer::Off,
            Balancer::On,
            Balancer::SynTimeout,
            Balancer::BothFlags,
        ] {
            let row = bench.measure(fault, balancer)?;
            let or = |ms: Option<f64>, none: &str| {
                ms.map_or_else(|| none.to_owned(), |ms| format!("{ms:.0}"))
            };
            println!(
                "{:<11} {:<17} {:>8} {:>7} {:>15} {:>6} {:>17} {:>6} {:>7}",
                format!("{fault:?}").to_lowercase(),
                name(balancer),
                row.connects,
                row.failed,
                or(row.failed_after_ms, "-"),
                row.slow,
                or(row.avoided_after_ms, "never"),
                row.later,
                row.trials
            );
            rows.push(row);
        }
    }
    println!();
    for row in &rows {
        let limit = match (row.fault, row.balancer) {
            (Fault::Silent, Balancer::On) => 1_200.0,
            (Fault::Silent, Balancer::SynTimeout | Balancer::BothFlags) => 400.0,
            _ => continue,
        };
        let after = row.avoided_after_ms;
        let what = format!("{}: silent backend avoided", name(row.balancer));
        let target = format!("within {limit:.0} ms of the first lost SYN");
        let is_met = after.is_some_and(|after| after <= limit);
        println!("{}", verdict(&what, &target, is_met));
        let what = format!(
            "{}: {} connects suffer later, {} trials",
            name(row.balancer),
            row.later,
            row.trials
        );
        println!(
            "{}",
            verdict(&what, "at most one a trial", row.later <= row.trials)
        );
    }
    options.write_json(&rows)
}

const fn name(of: Balancer) -> &'static str {
    match of {
        Balancer::KubeProxysRule => "kube-proxy's rule",
        Balancer::Off => "detection off",
        Balancer::On => "detection on",
        Balancer::SynTimeout => "and syn-timeout",
        Balancer::BothFlags => "both flags",
    }
}

struct OutlierBench<'a> {
    options: &'a Options,
    sandbox: &'a Sandbox,
    pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
    client: Pod,
}

impl<'a> OutlierBench<'a> {
    fn new(options: &'a Options, sandbox: &'a Sandbox) -> Result<Self> {
        let pods = sandbox.pods(3)?;
        let servers = pods
            .iter()
            .map(|pod| NamedServer::tcp(pod, BACKEND_PORT, pod.name()))
            .collect::<Result<_>>()?;
        let client = sandbox.pod("client")?;
        // For kube-proxy's rule: the kernel looks for a route before it translates.
        client
            .namespace()
            .ip(&format!("route add {}/32 dev eth0\n", frontend(0).ip()))?;
        Ok(Self {
            options,
            sandbox,
            pods,
            _servers: servers,
            client,
        })
    }

    fn measure(&self, fault: Fault, balancer: Balancer) -> Result<OutlierRow> {
        eprintln!("bench: {fault:?} backend, {}", name(balancer));
        let length = Duration::from_secs(if self.options.quick { 10 } else { 30 });
        let broken = &self.pods[0];
        let running = self.begin(balancer)?;
        let is_over = AtomicBool::new(false);
        let mut connects = Vec::new();
        let (mut fault_at, mut trials) = (None, 0);
        thread::scope(|scope| -> Result<()> {
            let slow = broken.enter(|| TcpListener::bind(("0.0.0.0", OVERLOADED)))??;
            nix::sys::socket::listen(&slow, nix::sys::socket::Backlog::new(1)?)?;
            slow.set_nonblocking(true)?;
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    drop(slow.accept());
                    thread::sleep(NEEDS);
                }
            });
            let client = scope.spawn(|| self.client.enter(|| connect_steadily(HEALTHY + length)));
            thread::sleep(HEALTHY);
            let result = begin_fault(broken, fault);
            fault_at = Some(Instant::now());
            let joined = client.join();
            is_over.store(true, Ordering::Relaxed);
            result?;
            connects = joined.ok().context("the client has ended")???;
            Ok(())
        })?;
        end_fault(broken)?;
        if let Some((agent, mut running)) = running {
            trials = trials_of(&running);
            running.terminate()?;
            agent.unload()?;
        } else {
            self.client.namespace().nft("delete table ip kube-proxy")?;
        }
        let fault_at = fault_at.context("the fault has begun")?;
        Ok(judge(fault, balancer, fault_at, &connects, trials))
    }

    /// Starts the balancer: an agent, or kube-proxy's rule in the client's network namespace.
    fn begin(&self, balancer: Balancer) -> Result<Option<(Agent, AgentProcess)>> {
        if balancer == Balancer::KubeProxysRule {
            self.client.namespace().nft(&self.rules())?;
            return Ok(None);
        }
        let manifests = self.sandbox.manifests()?;
        let service = ServiceManifest::new("web")
            .cluster_ip(*frontend(0).ip())
            .port("web", PORT);
        let slice = SliceManifest::new("web", Family::IPv4)
            .port("web", BACKEND_PORT)
            .addresses(self.pods.iter().map(Pod::ipv4));
        manifests.write("web.json", [service.to_json(), slice.to_json()])?;
        let mut agent = Agent::new(&self.options.agent, self.sandbox, manifests.folder());
        if balancer != Balancer::Off {
            agent = agent.arg("--outlier-detection");
        }
        if matches!(balancer, Balancer::SynTimeout | Balancer::BothFlags) {
            agent = agent.arg("--syn-timeout").arg("300ms");
        }
        if balancer == Balancer::BothFlags {
            agent = agent.arg("--abort-hanging");
        }
        let running = agent.start()?;
        Ok(Some((agent, running)))
    }

    fn rules(&self) -> String {
        let mut rules = String::from("table ip kube-proxy {\n");
        for (number, pod) in self.pods.iter().enumerate() {
            rules += &format!(
                "chain endpoint-{number} {{ meta l4proto tcp dnat to {}:{BACKEND_PORT}; }}\n",
                pod.ipv4()
            );
        }
        rules += &format!(
            "chain output {{ type nat hook output priority -100;\n\
             ip daddr {} tcp dport {PORT} numgen random mod 3 vmap \
             {{ 0 : goto endpoint-0, 1 : goto endpoint-1, 2 : goto endpoint-2 }}\n}}\n}}",
            frontend(0).ip()
        );
        rules
    }
}

fn trials_of(running: &AgentProcess) -> usize {
    // One may be under way.
    let log = running.log();
    log.count("backend.trial_failed") + log.count("backend.readmitted") + 1
}

fn begin_fault(pod: &Pod, fault: Fault) -> Result<()> {
    let rule = match fault {
        Fault::Silent => "meta l4proto tcp drop".to_owned(),
        Fault::Refusing => "tcp flags syn reject with tcp reset".to_owned(),
        Fault::Overloaded => {
            return pod.namespace().nft(&format!(
                "add table inet fault
                add chain inet fault input {{ type nat hook prerouting priority -100; }}
                add rule inet fault input tcp dport {BACKEND_PORT} redirect to :{OVERLOADED}"
            ));
        }
    };
    pod.namespace().nft(&format!(
        "add table inet fault
        add chain inet fault input {{ type filter hook input priority 0; }}
        add rule inet fault input {rule}"
    ))
}

fn end_fault(pod: &Pod) -> Result<()> {
    pod.namespace().nft("delete table inet fault")
}

fn judge(
    fault: Fault,
    balancer: Balancer,
    fault_at: Instant,
    connects: &[Connect],
    trials: usize,
) -> OutlierRow {
    let after: Vec<&Connect> = connects.iter().filter(|of| of.began >= fault_at).collect();
    let is_slow = |of: &Connect| of.is_well && of.took > SLOW;
    let suffers = |of: &&&Connect| !of.is_well || is_slow(of);
    let failed = after.iter().filter(|of| !of.is_well);
    let mut failed: Vec<Duration> = failed.map(|of| of.took).collect();
    failed.sort_unstable();
    let first = after.iter().find(suffers).map(|of| of.began);
    let settled = first.map(|first| first + SETTLED);
    let early = |of: &&&Connect| settled.is_some_and(|settled| of.began < settled);
    let last = after.iter().filter(suffers).rfind(early).map(|of| of.began);
    let between = first.zip(last).map(|(first, last)| last - first);
    // A fault that is not avoided goes on until then.
    let between = between.filter(|between| *between < SETTLED - 20 * EVERY);
    OutlierRow {
        fault,
        balancer,
        connects: after.len(),
        failed: failed.len(),
        failed_after_ms: failed
            .get(failed.len() / 2)
            .map(|median| median.as_secs_f64() * 1e3),
        slow: after.iter().filter(|of| is_slow(of)).count(),
        avoided_after_ms: between.map(|between| between.as_secs_f64() * 1e3),
        later: after.iter().filter(suffers).filter(|of| !early(of)).count(),
        trials,
    }
}
