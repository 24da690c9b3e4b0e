//! Clients that send requests as fast as they can while the pods of a Service are replaced: each request is answered, by a pod
//! that was allowed to at that time.

mod allowed;
mod replaced;
mod restarted;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    AgentProcess, Endpoint, NamedServer, Pod, Sandbox, SliceManifest, ask_udp, connect, patiently,
};
use socket2::Domain;

use self::allowed::{Allowed, REFUSED};
use super::{Cluster, address, service, slice};
use crate::churn::Client;
use crate::support::{PORT, TARGET, backends, eventually};
use crate::udp;

/// The address of the Service `web`, whose port serves both TCP and UDP.
const WEB: u8 = 10;

/// The first pods, and their replacements.
const BLUE: [usize; 3] = [0, 1, 2];
const GREEN: [usize; 3] = [3, 4, 5];

/// The number of requests of each client after which a change counts as complete: more than the one in progress.
const REQUESTS: u64 = 20;

/// A Service whose pods change, and clients that send requests all the time.
struct Load {
    cluster: Cluster,
    running: AgentProcess,
    pods: Vec<Pod>,
    /// The servers of each running pod.
    servers: Vec<Option<[NamedServer; 2]>>,
    /// The prefix of the slices' names.
    slices: String,
    /// The pods that new connections go to.
    chosen: Allowed,
    /// The pods that the flow of an unconnected socket goes to: also those that serve until they end.
    serving: Allowed,
    clients: Vec<Client>,
}

impl Load {
    /// Starts with the blue pods as the Service's endpoints.
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let cluster = Cluster::new(sandbox)?;
        let web = service("web", WEB).udp_port("dns", PORT);
        cluster.server.apply(&web.to_json())?;
        let pods = sandbox.pods(BLUE.len() + GREEN.len())?;
        let mut load = Self {
            running: cluster.agent.start()?,
            cluster,
            servers: pods.iter().map(|_| None).collect(),
            pods,
            slices: "web".to_owned(),
            chosen: Allowed::default(),
            serving: Allowed::default(),
            clients: Vec::new(),
        };
        load.start_pods(&BLUE)?;
        load.change(&BLUE, &[])?;
        let client = sandbox.pod("client")?;
        let to = address(WEB);
        let [tcp, connected, unconnected] =
            [&load.chosen, &load.chosen, &load.serving].map(Clone::clone);
        let socket = client.enter(|| udp::socket(Domain::IPV4))??;
        load.clients = vec![
            Client::repeat(&client, move || tcp.judge(|| exchange(to))),
            Client::repeat(&client, move || connected.judge(|| Ok(ask_udp(to)?))),
            Client::repeat(&client, move || unconnected.judge(|| udp::ask(&socket, to))),
        ];
        load.progress()?;
        Ok(load)
    }

    fn start_pods(&mut self, pods: &[usize]) -> Result<()> {
        for &number in pods {
            let pod = &self.pods[number];
            self.servers[number] = Some([
                NamedServer::tcp(pod, TARGET, pod.name())?,
                NamedServer::udp(pod, TARGET, pod.name())?,
            ]);
        }
        Ok(())
    }

    /// From now on, requests to these pods fail.
    fn stop_pods(&mut self, pods: &[usize]) {
        for &number in pods {
            self.servers[number] = None;
        }
    }

    /// Writes the Service's endpoints, each into a slice by its number's parity.
    fn write(&self, ready: &[usize], terminating: &[usize]) -> Result<()> {
        self.chosen.also(&self.names(chosen(ready, terminating)));
        self.serving
            .also(&self.names(&[ready, terminating].concat()));
        for part in 0..2 {
            let endpoint = |pod: &usize| Endpoint::new(self.pods[*pod].ipv4());
            let is_here = |pod: &&usize| **pod % 2 == part;
            let ready = ready.iter().filter(is_here).map(endpoint);
            let ending = terminating.iter().filter(is_here).map(endpoint);
            let slice = slice("web")
                .named(&self.slice(part))
                .udp_port("dns", TARGET);
            let slice = ready
                .chain(ending.map(|endpoint| endpoint.conditions(false, true, true)))
                .fold(slice, SliceManifest::endpoint);
            self.cluster.server.apply(&slice.to_json())?;
        }
        Ok(())
    }

    /// Waits until these endpoints are in effect; from then on no other pod may answer.
    fn settle(&self, ready: &[usize], terminating: &[usize]) -> Result<()> {
        let serving = [ready, terminating].concat();
        let wanted = [chosen(ready, terminating), &serving].map(|pods| {
            let addresses = pods.iter().map(|&pod| self.pods[pod].ipv4().into());
            addresses.collect::<BTreeSet<IpAddr>>()
        });
        eventually(&format!("{wanted:?} are in effect"), || {
            let backends = backends(&self.cluster.agent)?;
            for protocol in ["TCP", "UDP"] {
                let mut now = [BTreeSet::new(), BTreeSet::new()];
                for backend in backends.iter().filter(|one| one.protocol == protocol) {
                    let address = backend.address.parse::<SocketAddr>()?.ip();
                    now[0].extend(backend.internal.then_some(address));
                    now[1].extend(backend.serving.then_some(address));
                }
                if now != wanted {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        self.chosen.only(self.names(chosen(ready, terminating)));
        self.serving.only(self.names(&serving));
        self.progress()
    }

    fn change(&self, ready: &[usize], terminating: &[usize]) -> Result<()> {
        self.write(ready, terminating)?;
        self.settle(ready, terminating)
    }

    /// Waits until the requests in progress have ended, and some more.
    fn progress(&self) -> Result<()> {
        for client in &self.clients {
            let wanted = client.turns() + REQUESTS;
            eventually("the clients' requests end", || Ok(client.turns() >= wanted))?;
        }
        Ok(())
    }

    /// Replaces pods one by one as a Deployment does; `change` is [`Self::change`] with optional additions.
    fn roll_out(
        &mut self,
        old: [usize; 3],
        new: [usize; 3],
        mut change: impl FnMut(&mut Self, &[usize], &[usize]) -> Result<()>,
    ) -> Result<()> {
        let mut ready = old.to_vec();
        for (old, new) in old.into_iter().zip(new) {
            self.start_pods(&[new])?;
            ready.push(new);
            change(self, &ready, &[])?;
            ready.retain(|&pod| pod != old);
            change(self, &ready, &[old])?;
            change(self, &ready, &[])?;
            self.stop_pods(&[old]);
        }
        Ok(())
    }

    /// Checks that each request was answered correctly, and that each client made at least this many.
    fn finish(self, requests: u64) -> Result<()> {
        for client in self.clients {
            let made = client.finish()?;
            ensure!(made >= requests, "only {made} requests");
        }
        Ok(())
    }

    fn names(&self, pods: &[usize]) -> BTreeSet<String> {
        if pods.is_empty() {
            return BTreeSet::from([REFUSED.to_owned()]);
        }
        let names = pods.iter().map(|&pod| self.pods[pod].name().to_owned());
        names.collect()
    }

    fn slice(&self, part: usize) -> String {
        format!("{}-{part}", self.slices)
    }
}

/// Terminating endpoints are used only if there are no others.
fn chosen<'p>(ready: &'p [usize], terminating: &'p [usize]) -> &'p [usize] {
    match ready.is_empty() {
        true => terminating,
        false => ready,
    }
}

/// Connects, sends a request, and returns the name in the answer.
fn exchange(to: SocketAddr) -> Result<String> {
    let mut stream = BufReader::new(connect(to)?);
    let mut name = String::new();
    patiently(udp::LIMIT, || stream.read_line(&mut name)).context("no name")?;
    stream.get_mut().write_all(b"?").context("cannot ask")?;
    patiently(udp::LIMIT, || stream.read_exact(&mut [0])).context("no answer")?;
    Ok(name.trim_end().to_owned())
}
