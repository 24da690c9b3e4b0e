//! Resolvers and DNS servers of other projects: names are resolved through a Service over real DNS.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, Family, Pod, Sandbox, ServiceManifest, SliceManifest, connect,
    die_with_parent, sandboxed,
};
use nix::mount::{MsFlags, mount};

use crate::support::{active, agent, backends, cluster_ip, eventually};

/// The port of the pods' DNS servers; the Service has port 53.
const TARGET: u16 = 5353;

/// More than fits into a datagram without EDNS: resolvers repeat the query over TCP.
const MANY: usize = 60;

/// Two pods with dnsmasq, their Service as the only name server, and an agent.
struct Dns {
    client: Pod,
    agent: Agent,
    _servers: Vec<Server>,
    _running: AgentProcess,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Every pod returns another address for `web.example`: 10.7.0.NUMBER and fd00:7::NUMBER.
    fn start(pod: &Pod, number: usize, dir: &Path) -> Result<Self> {
        let mut hosts = format!("10.7.0.{number} web.example\nfd00:7::{number} web.example\n");
        for host in 1..=MANY {
            writeln!(hosts, "10.8.0.{host} many.example")?;
        }
        let file = dir.join(format!("hosts-{number}"));
        fs::write(&file, hosts)?;
        let mut dnsmasq = pod.command("dnsmasq");
        dnsmasq
            .args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--conf-file=/dev/null",
            ])
            .args(["--no-resolv", "--no-hosts", "--local-ttl=0", "--pid-file"])
            .args(["--user=root", "--group=root", "--edns-packet-max=512"])
            .arg(format!("--port={TARGET}"))
            .arg(format!("--addn-hosts={}", file.display()))
            .stdin(Stdio::null());
        let server = die_with_parent(&mut dnsmasq)
            .spawn()
            .context("`dnsmasq` cannot be run: install dnsmasq-base")?;
        Ok(Self(server))
    }
}

impl Dns {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let pods = sandbox.pods(2)?;
        let servers = (1..)
            .zip(&pods)
            .map(|(number, pod)| Server::start(pod, number, sandbox.dir()))
            .collect::<Result<_>>()?;
        let manifests = sandbox.manifests()?;
        let service = ServiceManifest::new("kube-dns")
            .cluster_ip(cluster_ip(10))
            .udp_port("dns", 53)
            .port("dns-tcp", 53);
        let slice = SliceManifest::new("kube-dns", Family::IPv4)
            .udp_port("dns", TARGET)
            .port("dns-tcp", TARGET)
            .addresses(pods.iter().map(Pod::ipv4));
        manifests.write("dns.json", [service.to_json(), slice.to_json()])?;
        let agent = agent(sandbox, &manifests);
        let client = sandbox.pod("client")?;
        // In the sandbox's own mount namespace.
        let resolv_conf = sandbox.dir().join("resolv.conf");
        fs::write(
            &resolv_conf,
            format!("nameserver {}\noptions timeout:30\n", cluster_ip(10)),
        )?;
        let nothing = None::<&str>;
        mount(
            Some(&resolv_conf),
            "/etc/resolv.conf",
            nothing,
            MsFlags::MS_BIND,
            nothing,
        )
        .context("/etc/resolv.conf cannot be covered")?;
        let dns = Self {
            client,
            _running: agent.start()?,
            agent,
            _servers: servers,
        };
        for pod in &pods {
            let address = (pod.ipv4(), TARGET);
            eventually("dnsmasq listens", || {
                Ok(dns.client.enter(|| connect(address))?.is_ok())
            })?;
        }
        Ok(dns)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .client
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("`{program}` cannot be run"))?;
        let said = String::from_utf8_lossy(&stdout).into_owned();
        let errors = String::from_utf8_lossy(&stderr);
        ensure!(
            status.success(),
            "{program} {arguments:?}: {status}: {said}{errors}"
        );
        Ok(said)
    }

    /// Sends queries until both servers have answered; none may fail.
    fn ask_until_both_answered(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut answers = BTreeSet::new();
        for _ in 0..40 {
            answers.insert(self.run(program, arguments)?);
        }
        ensure!(answers.len() == 2, "{program} {arguments:?}: {answers:?}");
        for (number, answer) in (1..).zip(answers) {
            let (ipv4, ipv6) = (format!("10.7.0.{number}"), format!("fd00:7::{number}"));
            ensure!(answer.contains(&ipv4) || answer.contains(&ipv6), "{answer}");
        }
        Ok(())
    }

    /// Checks that the queries used the Service, and that no entries remain.
    fn check_counts(&self, questions: u64) -> Result<()> {
        let sent: u64 = backends(&self.agent)?.iter().map(|b| b.connections).sum();
        ensure!(
            sent >= questions,
            "{sent} of {questions} went through the Service"
        );
        assert_eq!(active(&self.agent)?, 0);
        Ok(())
    }
}

/// glibc connects a socket for both queries, with `send` and `recv`.
#[test]
fn a_connected_resolver_gets_answers() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox)?;
        dns.ask_until_both_answered("getent", &["ahosts", "web.example"])?;
        dns.check_counts(40)?;
        let many = dns.run("getent", &["ahostsv4", "many.example"])?;
        assert_eq!(many.matches("STREAM").count(), MANY, "{many}");
        Ok(())
    });
}

/// adns, like musl, sends from an unconnected socket, and accepts no answer from another address.
#[test]
fn an_unconnected_resolver_that_checks_the_source_gets_answers() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox)?;
        dns.ask_until_both_answered("adnshost", &["--type", "a", "web.example"])?;
        dns.ask_until_both_answered("adnshost", &["--type", "aaaa", "web.example"])?;
        dns.check_counts(80)?;
        let many = dns.run("adnshost", &["--type", "a", "many.example"])?;
        assert_eq!(many.matches("10.8.0.").count(), MANY, "{many}");
        Ok(())
    });
}
