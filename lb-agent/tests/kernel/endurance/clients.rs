//! Clients that send requests to one Service after the other as fast as they can, and check each answer.

use std::fmt;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{Deadline, Log, Pod, ask_udp, connect, patiently, stretched};
use socket2::Domain;

use super::ledger::NOBODY;
use super::lives::{Lives, PROMISE};
use super::services::{Answers, Service, Services};
use crate::churn::Client;
use crate::udp;

/// How much lower the priority of a client's threads is than that of agent, API server and servers.
const NICE: i32 = 10;

/// The number of sockets that stay open for a while, each for several Services.
const SOCKETS: usize = 16;
const TARGETS: usize = 3;

/// One in this many requests uses a new socket instead of an open one.
const NEW_SOCKET: usize = 64;

pub struct Clients {
    clients: Vec<Client>,
    doubts: Doubts,
}

/// Answers of servers that had left more than a second before.
type Doubts = Arc<Mutex<Vec<Doubt>>>;

/// An answer that is checked once the lives of the agents are known.
#[derive(Debug)]
struct Doubt {
    what: String,
    left: Instant,
    /// The time of the request.
    asked: Instant,
}

/// An answer that must not have arrived.
struct Late {
    what: String,
    by: Duration,
    log_file: PathBuf,
}

/// The time that the clients may take for one more request.
const NEXT_QUESTION: Duration = Duration::from_secs(60);

impl Doubt {
    fn judge(&self, lives: &Lives) -> Option<Late> {
        let due = lives.in_effect_by(self.left)?;
        let by = self.asked.checked_duration_since(due.by)?;
        let left_at = jiff::Timestamp::now() - self.left.elapsed();
        Some(Late {
            what: format!(
                "{}, which had left at {left_at}, {:?} before it was asked, and {by:?} too late: slow, for meanwhile the agent \
                 and the API server had waited for a CPU for {:?} only",
                self.what,
                self.asked - self.left,
                due.starved,
            ),
            by,
            log_file: due.log_file,
        })
    }
}

/// The number of requests, and their results.
pub struct Asked {
    questions: u64,
    /// The number of answers of servers that had left more than a second before while no agent was running.
    stale: usize,
    /// The longest time since such a server had left.
    stalest: Duration,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} questions; {} times one answered that had left for more than a second, {:?} at most, and no agent was there \
             to know",
            self.questions, self.stale, self.stalest
        )
    }
}

impl Clients {
    pub fn start(pod: &Pod, services: &Arc<Services>, random: &mut fastrand::Rng) -> Result<Self> {
        let doubts = Doubts::default();
        let mut asker = || Asker {
            services: services.clone(),
            doubts: doubts.clone(),
            random: random.fork(),
            is_nice: false,
        };
        let [mut first, mut second, mut connected, mut unconnected] =
            [asker(), asker(), asker(), asker()];
        let mut flows = pod.enter(|| {
            let flows = (0..SOCKETS).map(|_| unconnected.flow());
            flows.collect::<Result<Vec<_>>>()
        })??;
        let clients = vec![
            Client::repeat(pod, move || first.ask(over_tcp, |of| &of.tcp_answers)),
            Client::repeat(pod, move || second.ask(over_tcp, |of| &of.tcp_answers)),
            Client::repeat(pod, move || connected.ask(over_udp, |of| &of.udp_answers)),
            Client::repeat(pod, move || unconnected.go_on(&mut flows)),
        ];
        Ok(Self { clients, doubts })
    }

    /// Every request was answered correctly.
    pub fn finish(&mut self, services: &Services, lives: &Lives) -> Result<Asked> {
        let least = services.all().len() as u64 * 20;
        self.wait_for_questions(least)?;
        let mut questions = 0;
        for client in self.clients.drain(..) {
            questions += client.finish()?;
        }
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let stalest = doubts.iter().map(|doubt| doubt.asked - doubt.left).max();
        let late: Vec<Late> = doubts
            .iter()
            .filter_map(|doubt| doubt.judge(lives))
            .collect();
        if let Some(latest) = late.iter().max_by_key(|late| late.by) {
            let log = Log::read(&latest.log_file);
            bail!(
                "{log}\n{} answers of servers that the agent with this log must have known to be gone; the latest: {}",
                late.len(),
                latest.what
            );
        }
        Ok(Asked {
            questions,
            stale: doubts.len(),
            stalest: stalest.unwrap_or_default(),
        })
    }

    /// On a busy machine clients wait most of the time. As long as they make progress, this many requests accumulate.
    fn wait_for_questions(&self, least: u64) -> Result<()> {
        let questions = || self.clients.iter().map(Client::turns).sum::<u64>();
        let mut before = questions();
        let mut deadline = Deadline::within(NEXT_QUESTION);
        while questions() <= least {
            if questions() > before {
                before = questions();
                deadline = Deadline::within(NEXT_QUESTION);
            }
            ensure!(
                !deadline.is_over(),
                "{before} questions, and none more within {deadline}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// One client.
struct Asker {
    services: Arc<Services>,
    doubts: Doubts,
    random: fastrand::Rng,
    is_nice: bool,
}

/// An unconnected socket, and its request.
struct Flow {
    socket: UdpSocket,
    targets: [Target; TARGETS],
}

/// A Service, and the server that answered, for Services whose servers stay.
struct Target {
    service: usize,
    stays: Option<IpAddr>,
}

impl Asker {
    /// Sends a request to any Service, over a new socket.
    fn ask(
        &mut self,
        question: fn(&Service) -> Result<IpAddr>,
        answers: fn(&Service) -> &Answers,
    ) -> Result<(), String> {
        self.be_nice();
        let service = &self.services.all()[self.random.usize(..self.services.all().len())];
        let asked = Instant::now();
        let answer = question(service);
        if let Ok(server) = &answer {
            count(service, answers(service), *server);
        }
        self.judge(service, asked, answer)
    }

    /// Sends a request over one of the open sockets.
    fn go_on(&mut self, flows: &mut [Flow]) -> Result<(), String> {
        self.be_nice();
        let which = self.random.usize(..flows.len());
        if self.random.usize(..NEW_SOCKET) == 0 {
            flows[which] = self.flow().map_err(|error| format!("{error:#}"))?;
        }
        let Flow { socket, targets } = &mut flows[which];
        let target = &mut targets[self.random.usize(..TARGETS)];
        let service = &self.services.all()[target.service];
        let asked = Instant::now();
        let answer = udp::ask(socket, service.at).and_then(parse);
        let is_steady = target.service < self.services.steady().len();
        if let Ok(server) = &answer
            && is_steady
        {
            match target.stays.replace(*server) {
                None => count(service, &service.udp_answers, *server),
                Some(before) if before == *server => {}
                Some(before) => return Err(format!("{server} after {before}, which stays")),
            }
        }
        self.judge(service, asked, answer)
    }

    /// A new socket for several Services of a family.
    fn flow(&mut self) -> Result<Flow> {
        let services = self.services.all();
        let is_of_ipv4 = self.random.bool();
        let family = match is_of_ipv4 {
            true => Domain::IPV4,
            false => Domain::IPV6,
        };
        let socket = udp::socket(family)?;
        let mut numbers: Vec<usize> = (0..services.len())
            .filter(|number| services[*number].at.is_ipv4() == is_of_ipv4)
            .collect();
        self.random.shuffle(&mut numbers);
        let targets = std::array::from_fn(|place| Target {
            service: numbers[place],
            stays: None,
        });
        Ok(Flow { socket, targets })
    }

    /// Returns the fault of an answer, as far as it can be known at this time.
    fn judge(
        &self,
        service: &Service,
        asked: Instant,
        answer: Result<IpAddr>,
    ) -> Result<(), String> {
        let (what, bit) = match answer {
            Ok(server) => match service.server(server) {
                Some(number) => (server.to_string(), 1 << number),
                None => return Err(format!("{server} answered for {}", service.at)),
            },
            Err(error) if is_refusal(&error) => (format!("{error:#}"), NOBODY),
            Err(error) => return Err(format!("{}: {error:#}", service.at)),
        };
        let what = || format!("{} was answered by {what}", service.at);
        let left = service.ledger.left(bit);
        let left = left.map_err(|why| format!("{}, which {why}", what()))?;
        if let Some(left) = left
            && asked > left + stretched(PROMISE)
        {
            let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
            doubts.push(Doubt {
                what: what(),
                left,
                asked,
            });
        }
        Ok(())
    }

    fn be_nice(&mut self) {
        if !std::mem::replace(&mut self.is_nice, true) {
            // It is no failure if a client keeps its usual priority.
            let _ = rustix::process::nice(NICE);
        }
    }
}

fn count(service: &Service, answers: &Answers, server: IpAddr) {
    if let Some(number) = service.server(server) {
        answers[number].fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the server that answers over TCP. The socket must report the Service as its peer.
fn over_tcp(service: &Service) -> Result<IpAddr> {
    let mut stream = connect(service.at)?;
    let peer = stream.peer_addr()?;
    ensure!(peer == service.at, "connected to {peer}");
    let mut name = [0; 64];
    let mut length = 0;
    while !name[..length].ends_with(b"\n") {
        match patiently(udp::LIMIT, || stream.read(&mut name[length..]))? {
            0 => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            more => length += more,
        }
    }
    let name = String::from_utf8_lossy(&name[..length]);
    parse(name.trim_end().to_owned())
}

/// Returns the server that answers over a connected UDP socket.
fn over_udp(service: &Service) -> Result<IpAddr> {
    parse(ask_udp(service.at)?)
}

fn parse(name: String) -> Result<IpAddr> {
    name.parse().with_context(|| format!("{name} answered"))
}

fn is_refusal(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable)
    )
}
