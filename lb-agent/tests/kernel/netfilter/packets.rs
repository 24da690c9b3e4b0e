//! The rules apply verdicts to real packets. A rule of the test gives the verdicts, in place of the program `packet`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::kernel::netfilter::{Counters, Netfilter};
use lb_testbed::{sandboxed, stretched};
use socket2::{Domain, Protocol, Socket, Type};

use super::router::{FAMILIES, Family, Router, TARGET, ask_udp};
use super::{nft, open};

/// The verdict on each port. The test's own rules find a verdict in packets that have passed ours, and a mark that has
/// not been cleared.
const VERDICTS: &str = "
table inet verdicts {
  map ipv4 { type inet_service : classid; elements = {
    1 : 8000:4, 2 : c000:4, 3 : 9000:0, 4 : a000:0, 5 : b000:0, 6 : 8000:99 }; }
  map ipv6 { type inet_service : classid; elements = {
    1 : 8000:6, 2 : c000:6, 3 : 9000:0, 4 : a000:0, 5 : b000:0, 6 : 8000:99 }; }
  counter left_verdicts { }
  counter left_marks { }
  chain before { type filter hook prerouting priority -300;
    iif lo return
    tcp flags & (syn | ack) != syn return
    meta nfproto ipv4 meta priority set th dport map @ipv4
    meta nfproto ipv6 meta priority set th dport map @ipv6
  }
  chain after { type filter hook prerouting priority -98;
    meta priority & 8000:0 != 0 counter name left_verdicts
  }
  chain out { type filter hook postrouting priority 200;
    meta mark & 0x4000 != 0 counter name left_marks
  }
}";

const CHOSEN: u16 = 1;
const MASQUERADED: u16 = 2;
const REJECTED: u16 = 3;
const DROPPED: u16 = 4;
const OUT_OF_RANGE: u16 = 5;
const WITHOUT_BACKEND: u16 = 6;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an answer that must not come is waited for: less than until a SYN is sent again.
const QUIET: Duration = Duration::from_millis(200);

fn limit() -> Duration {
    stretched(LIMIT)
}

fn start() -> Result<(Router, Netfilter)> {
    let router = Router::start()?;
    nft(VERDICTS)?;
    let mut netfilter = open()?;
    netfilter.put(&[
        (4, (Family::Ipv4.server(), TARGET).into()),
        (6, (Family::Ipv6.server(), TARGET).into()),
    ])?;
    Ok((router, netfilter))
}

fn at(family: Family, port: u16) -> SocketAddr {
    (family.router(), port).into()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// The number of packets of a counter of the test's own.
fn counted(name: &str) -> Result<u64> {
    let output = std::process::Command::new("nft")
        .args(["list", "counter", "inet", "verdicts", name])
        .output()?;
    let listed = String::from_utf8(output.stdout)?;
    let mut words = listed
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    Ok(words.nth(1).context("no packets")?.parse()?)
}

#[test]
fn a_choice_reaches_its_backend_and_keeps_or_hides_the_client() {
    sandboxed(|_| {
        let (router, mut netfilter) = start()?;
        for family in FAMILIES {
            for (port, source) in [(CHOSEN, family.client()), (MASQUERADED, family.inside())] {
                let to = at(family, port);
                ensure!(router.ask_tcp(to, limit())? == source);
                let socket = router.udp(to)?;
                // The larger ones come in fragments.
                for length in [1, 4_000, 20_000, 1] {
                    ensure!(ask_udp(&socket, length, limit())? == source);
                }
            }
        }
        let counters = netfilter.counters()?;
        let wanted = Counters {
            connections_ipv4: 4,
            connections_ipv6: 4,
            ..Counters::default()
        };
        ensure!(counters == wanted, "{counters:?}");
        ensure!(counted("left_verdicts")? == 0);
        ensure!(counted("left_marks")? == 0);
        Ok(())
    });
}

#[test]
fn rejected_connections_are_refused_at_once_and_dropped_ones_wait() {
    sandboxed(|_| {
        let (router, mut netfilter) = start()?;
        for family in FAMILIES {
            let refused = router.ask_tcp(at(family, REJECTED), limit());
            let error = refused.expect_err("it was answered");
            ensure!(error.kind() == io::ErrorKind::ConnectionRefused, "{error}");
            let socket = router.udp(at(family, REJECTED))?;
            socket.set_read_timeout(Some(limit()))?;
            socket.send(b"?")?;
            let error = socket.recv(&mut [0; 10]).expect_err("it was answered");
            ensure!(error.kind() == io::ErrorKind::ConnectionRefused, "{error}");
            for port in [DROPPED, OUT_OF_RANGE, WITHOUT_BACKEND] {
                let error = router
                    .ask_tcp(at(family, port), QUIET)
                    .expect_err("it was answered");
                ensure!(is_timeout(&error), "{error}");
                let socket = router.udp(at(family, port))?;
                socket.set_read_timeout(Some(QUIET))?;
                socket.send(b"?")?;
                let error = socket.recv(&mut [0; 10]).expect_err("it was answered");
                ensure!(is_timeout(&error), "{error}");
            }
        }
        let counters = netfilter.counters()?;
        let wanted = Counters {
            rejected: 4,
            dropped_local: 4,
            dropped_out_of_range: 4,
            dropped_without_backend: 4,
            ..Counters::default()
        };
        ensure!(counters == wanted, "{counters:?}");
        Ok(())
    });
}

#[test]
fn a_flow_in_use_outlives_every_other_verdict() {
    sandboxed(|_| {
        let (router, mut netfilter) = start()?;
        let to = at(Family::Ipv4, CHOSEN);
        let socket = router.udp(to)?;
        let source = Family::Ipv4.client();
        ensure!(ask_udp(&socket, 1, limit())? == source);
        for verdict in ["9000:0", "a000:0", "b000:0", "8000:99"] {
            nft(&format!(
                "flush map inet verdicts ipv4\nadd element inet verdicts ipv4 {{ {CHOSEN} : {verdict} }}"
            ))?;
            ensure!(ask_udp(&socket, 1, limit())? == source, "{verdict}");
            let other = router.udp(to)?;
            ensure!(ask_udp(&other, 1, QUIET).is_err(), "{verdict}");
        }
        netfilter.remove(&[4])?;
        ensure!(ask_udp(&socket, 1, limit())? == source);
        Ok(())
    });
}

#[test]
fn a_flow_without_a_backend_begins_when_the_backend_is_there() {
    sandboxed(|_| {
        let (router, mut netfilter) = start()?;
        netfilter.remove(&[4])?;
        let to = at(Family::Ipv4, CHOSEN);
        let socket = router.udp(to)?;
        ensure!(ask_udp(&socket, 1, QUIET).is_err());
        netfilter.put(&[(4, (Family::Ipv4.server(), TARGET).into())])?;
        ensure!(ask_udp(&socket, 1, limit())? == Family::Ipv4.client());
        Ok(())
    });
}

#[test]
fn what_a_process_sends_over_lo_is_left_alone() {
    sandboxed(|_| {
        let (_router, mut netfilter) = start()?;
        nft(
            "table inet forged { chain out { type filter hook output priority 0; oif lo meta priority set 0x90000000; }; }",
        )?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to = listener.local_addr()?;
        TcpStream::connect_timeout(&to, limit())?;
        ensure!(netfilter.counters()? == Counters::default());
        Ok(())
    });
}

#[test]
fn forwarded_packets_that_conntrack_calls_invalid_are_dropped() {
    sandboxed(|_| {
        let (router, mut netfilter) = start()?;
        let IpAddr::V4(server) = Family::Ipv4.server() else {
            bail!("no IPv4 address");
        };
        // A segment with a wrong checksum.
        let segment = [7; 20];
        router.client.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            let to = SocketAddr::from((server, 0));
            socket.send_to(&segment, &to.into())
        })??;
        let counters = netfilter.counters()?;
        ensure!(counters.invalid == 1, "{counters:?}");
        Ok(())
    });
}
