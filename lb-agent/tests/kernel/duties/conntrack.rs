//! UDP flows in the kernel's conntrack: which are deleted, and where the next datagram goes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::catalog::{Family, Protocol};
use lb_agent::duties::DutyMetrics;
use lb_agent::duties::conntrack::{
    Cleaned, CleanerAnswer, Conntrack, ConntrackCleaner, ConntrackError, Flow, StaleRule,
};
use lb_agent::policy::{
    Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort, ServicePortKey,
};
use lb_agent::privileges::{OF_SOCKETS, OF_TABLES, keep};
use lb_testbed::{sandboxed, stretched};

use super::entries::{Entry, TCP, UDP, create};

/// A Service `dns` with a ClusterIP and a NodePort, whose endpoints these are.
fn dns(cluster_ip: &str, backends: &[(&str, bool)]) -> Result<ServicePort> {
    let cluster_ip: SocketAddr = cluster_ip.parse()?;
    let frontends = [
        (
            FrontendKind::ClusterIp,
            Some(cluster_ip.ip()),
            cluster_ip.port(),
        ),
        (FrontendKind::NodePort, None, 30_053),
    ];
    let backend = |&(address, serving): &(&str, bool)| {
        Ok(Backend {
            address: address.parse()?,
            node: None,
            zone: None,
            weight: 1,
            tenths: FULL_WEIGHT,
            internal: serving,
            external: serving,
            outside: false,
            watched: false,
            serving,
        })
    };
    Ok(ServicePort {
        key: ServicePortKey {
            namespace: Arc::from("default"),
            name: Arc::from("dns"),
            port: Arc::default(),
            protocol: Protocol::Udp,
            family: Family::of(cluster_ip.ip()),
        },
        created: None,
        algorithm: Algorithm::Random,
        affinity_seconds: None,
        slow_start: None,
        spill_over: None,
        drain: None,
        external_local: false,
        source_ranges: Arc::default(),
        frontends: frontends
            .map(|(kind, address, port)| Frontend {
                kind,
                address,
                port,
            })
            .into(),
        backends: backends.iter().map(backend).collect::<Result<_>>()?,
    })
}

/// Waits for an answer of the thread.
fn wait(answer: CleanerAnswer) -> Result<Cleaned> {
    Ok(answer.blocking_recv()??)
}

/// The destinations and answering addresses of all UDP flows of a family.
fn flows(family: Family) -> Result<BTreeSet<(SocketAddr, SocketAddr)>> {
    let mut flows = BTreeSet::new();
    Conntrack::default().list(family, |flow: Flow| {
        flows.insert((flow.original.destination, flow.reply.source));
    })?;
    Ok(flows)
}

#[test]
fn stale_udp_entries_are_deleted_and_no_others() {
    sandboxed(|_| {
        let entry = |client, to, answers| Entry {
            protocol: UDP,
            client,
            to,
            answers,
            zone_of_original: None,
            zone: None,
        };
        let stale = entry("10.0.0.9:1000", "10.96.0.10:53", "10.1.0.2:5353");
        let also = |client| Entry { client, ..stale };
        create(&[
            entry("10.0.0.9:999", "10.96.0.10:53", "10.1.0.1:5353"),
            stale,
            entry("10.0.0.9:998", "192.0.2.1:30053", "10.1.0.1:5353"),
            entry("10.0.0.9:997", "192.0.2.1:30053", "10.1.0.2:5353"),
            entry("10.0.0.9:996", "10.96.0.10:54", "10.1.0.2:5353"),
            // One that was never translated.
            entry("10.0.0.9:1001", "10.96.0.10:53", "10.96.0.10:53"),
            Entry {
                zone: Some(7),
                ..also("10.0.0.9:1002")
            },
            Entry {
                zone_of_original: Some(8),
                ..also("10.0.0.9:1003")
            },
            Entry {
                protocol: TCP,
                ..also("10.0.0.9:1004")
            },
            entry("[fd00::9]:999", "[fd00:96::a]:53", "[fd00:1::1]:5353"),
            entry("[fd00::9]:1000", "[fd00:96::a]:53", "[fd00:1::2]:5353"),
        ])?;
        let cleaner = ConntrackCleaner::start(DutyMetrics::default())?;
        let nobody = StaleRule::new(&[dns("10.96.0.10:53", &[("10.1.0.2:5353", false)])?]);
        assert_eq!(wait(cleaner.clean(nobody))?.deleted, 0);

        let both = [("10.1.0.1:5353", true), ("10.1.0.2:5353", false)];
        let rule = StaleRule::new(&[dns("10.96.0.10:53", &both)?]);
        let cleaned = wait(cleaner.clean(rule.clone()))?;
        // IPv6 is not looked at, since the Service is not in it, nor is TCP.
        let expected = Cleaned {
            seen: 8,
            deleted: 5,
        };
        assert_eq!(cleaned, expected);
        assert_eq!(wait(cleaner.clean(rule))?.deleted, 0);
        let pair = |to: &str, answers: &str| -> Result<_> { Ok((to.parse()?, answers.parse()?)) };
        let left = [
            pair("10.96.0.10:53", "10.1.0.1:5353")?,
            pair("192.0.2.1:30053", "10.1.0.1:5353")?,
            pair("10.96.0.10:54", "10.1.0.2:5353")?,
        ];
        assert_eq!(flows(Family::Ipv4)?, BTreeSet::from(left));

        let six = [("[fd00:1::1]:5353", true), ("[fd00:1::2]:5353", false)];
        let rule = StaleRule::new(&[dns("[fd00:96::a]:53", &six)?]);
        let expected = Cleaned {
            seen: 2,
            deleted: 1,
        };
        assert_eq!(wait(cleaner.clean(rule))?, expected);
        let left = [pair("[fd00:96::a]:53", "[fd00:1::1]:5353")?];
        assert_eq!(flows(Family::Ipv6)?, BTreeSet::from(left));
        Ok(())
    });
}

#[test]
fn a_flow_is_not_deleted_once_another_has_taken_its_addresses() {
    sandboxed(|_| {
        let entry = Entry {
            protocol: UDP,
            client: "10.0.0.9:999",
            to: "10.96.0.10:53",
            answers: "10.1.0.2:5353",
            zone_of_original: None,
            zone: None,
        };
        create(&[entry])?;
        let mut conntrack = Conntrack::default();
        let mut found = Vec::new();
        conntrack.list(Family::Ipv4, |flow| found.push(flow))?;
        let [flow] = found[..] else {
            bail!("{found:?} instead of one flow");
        };
        let later = Flow {
            id: flow.id ^ 1,
            ..flow
        };
        assert!(!conntrack.delete(&later)?);
        assert!(conntrack.delete(&flow)?);
        assert!(!conntrack.delete(&flow)?);
        assert_eq!(flows(Family::Ipv4)?, BTreeSet::new());
        Ok(())
    });
}

/// Runs `nft -f -` or `ip -batch -` in this network namespace.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut stdin = child.stdin.take().context("it has a standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    ensure!(child.wait()?.success(), "{program} failed");
    Ok(())
}

/// Answers each datagram with its own address, as long as the process runs.
fn serve(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    let name = address.to_owned();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), client);
        }
    });
    Ok(())
}

fn client(to: &str) -> Result<UdpSocket> {
    let to: SocketAddr = to.parse()?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(stretched(Duration::from_secs(5))))?;
    socket.connect(to)?;
    Ok(socket)
}

fn ask(client: &UdpSocket) -> Result<String> {
    client.send(b"?")?;
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Sends new flows to the first or the second endpoint.
fn choose(endpoint: u8) -> Result<()> {
    let rules = format!(
        "table inet choice\n\
         delete table inet choice\n\
         table inet choice {{ chain output {{ type nat hook output priority -100;\n\
           ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.1.0.{endpoint}:5353\n\
           ip6 daddr fd00:96::a udp dport 53 dnat ip6 to [fd00:1::{endpoint}]:5353\n\
         }}\n}}\n"
    );
    run("nft", &["-f", "-"], &rules)
}

#[test]
fn a_client_that_keeps_its_port_reaches_a_living_endpoint() {
    sandboxed(|_| {
        run(
            "ip",
            &["-batch", "-"],
            "addr add 10.1.0.1/32 dev lo\naddr add 10.1.0.2/32 dev lo\n\
             addr add fd00:1::1/128 dev lo nodad\naddr add fd00:1::2/128 dev lo nodad\n\
             route add 10.96.0.0/16 dev lo\nroute add fd00:96::/64 dev lo\n",
        )?;
        let cleaner = ConntrackCleaner::start(DutyMetrics::default())?;
        for (cluster_ip, first, second) in [
            ("10.96.0.10:53", "10.1.0.1:5353", "10.1.0.2:5353"),
            ("[fd00:96::a]:53", "[fd00:1::1]:5353", "[fd00:1::2]:5353"),
        ] {
            serve(first)?;
            serve(second)?;
            choose(1)?;
            let early = client(cluster_ip)?;
            assert_eq!(ask(&early)?, first);
            choose(2)?;
            let late = client(cluster_ip)?;
            assert_eq!(ask(&late)?, second);
            // The kernel remembers.
            assert_eq!(ask(&early)?, first);

            let rule = StaleRule::new(&[dns(cluster_ip, &[(first, false), (second, true)])?]);
            assert_eq!(wait(cleaner.clean(rule))?.deleted, 1);
            assert_eq!(ask(&early)?, second);
            assert_eq!(ask(&late)?, second);
        }
        Ok(())
    });
}

#[test]
fn without_the_capability_the_error_is_eperm() {
    sandboxed(|_| {
        // All but CAP_NET_ADMIN, which both have.
        keep(OF_TABLES - OF_SOCKETS)?;
        let cleaner = ConntrackCleaner::start(DutyMetrics::default())?;
        let rule = StaleRule::new(&[dns("10.96.0.10:53", &[("10.1.0.1:5353", true)])?]);
        let error = cleaner.clean(rule).blocking_recv()?.expect_err("refused");
        let ConntrackError::List(cause) = error else {
            bail!("{error}");
        };
        assert_eq!(cause.raw_os_error(), Some(libc::EPERM));
        Ok(())
    });
}
