//! `--step-aside-after`: without an agent, the data path does not send connections to removed pods for ever.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::config::FAIL_OPEN_AT;
use lb_testbed::{
    Agent, Family, NamedServer, ServiceManifest, SliceManifest, connect, patiently, sandboxed,
};

use crate::support::{PORT, TARGET, Web, answers, cluster_ip, eventually, failure};

/// The shortest value.
const AFTER: [&str; 2] = ["--step-aside-after", "5s"];

/// Longer than any reply takes.
const LIMIT: Duration = Duration::from_secs(10);

/// The error of a connect to an address that is not translated.
const UNTOUCHED: Option<i32> = Some(libc::ENETUNREACH);

fn with_flag(agent: &Agent) -> Agent {
    agent.clone().arg(AFTER[0]).arg(AFTER[1])
}

/// The time from which the programs fail open.
pub fn step_aside_at(agent: &Agent) -> Result<u64> {
    let config = MapData::from_pin(agent.pin_dir().join("tables-v1/CONFIG"))?;
    Ok(Array::<_, u64>::try_from(Map::Array(config))?.get(&FAIL_OPEN_AT, 0)?)
}

#[test]
fn the_data_path_fails_open_without_an_agent_and_returns_with_the_next() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let pod = &web.servers.pods[0];
        let _dns = NamedServer::udp(pod, TARGET, pod.name())?;
        let dns = SocketAddr::from((cluster_ip(11), PORT));
        let service = ServiceManifest::new("dns").cluster_ip(dns.ip());
        let slice = SliceManifest::new("dns", Family::IPv4).udp_port("dns", TARGET);
        web.manifests.write(
            "dns.json",
            [
                service.udp_port("dns", PORT).to_json(),
                slice.addresses(web.servers.ipv4()).to_json(),
            ],
        )?;
        web.running.terminate()?;
        let agent = with_flag(&web.agent);
        web.running = agent.start()?;

        let to = Web::ADDRESS;
        let no_port = SocketAddr::new(to.ip(), PORT + 1);
        // An agent that gets no CPU for five seconds does not postpone it: the data path fails open, and returns afterwards.
        eventually("a port that it does not have is refused", || {
            let refused = failure(&web.client, no_port)?.raw_os_error();
            Ok(refused == Some(libc::ECONNREFUSED))
        })?;
        let mut balanced = None;
        eventually("connects and sends are balanced", || {
            balanced = web.client.enter(|| -> Result<_> {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                let is_sent = socket.send_to(b"?", dns).is_ok();
                Ok(connect(to)
                    .ok()
                    .filter(|_| is_sent)
                    .map(|stream| (stream, socket)))
            })??;
            Ok(balanced.is_some())
        })?;
        let (stream, socket) = balanced.context("there is one")?;
        web.running.kill()?;

        eventually("connects pass unchanged", || {
            let name = web.client.enter(|| lb_testbed::connect_name(to))?;
            Ok(name.is_err_and(|error| error.raw_os_error() == UNTOUCHED))
        })?;
        assert_eq!(failure(&web.client, no_port)?.raw_os_error(), UNTOUCHED);
        let sent = socket.send_to(b"?", dns);
        assert_eq!(sent.err().and_then(|e| e.raw_os_error()), UNTOUCHED);
        // Connections that were balanced before continue.
        assert_eq!(stream.peer_addr()?, to);
        socket.set_read_timeout(Some(LIMIT))?;
        assert_eq!(received_from(&socket)?, dns);

        web.running = agent.start()?;
        eventually("it balances again", || {
            Ok(answers(&web.client, to, 10).is_ok())
        })?;
        eventually("datagrams are balanced again", || {
            Ok(socket.send_to(b"?", dns).is_ok())
        })?;
        assert_eq!(received_from(&socket)?, dns);
        Ok(())
    });
}

/// Returns the source address of a datagram.
fn received_from(socket: &UdpSocket) -> Result<SocketAddr> {
    let received = patiently(LIMIT, || socket.recv_from(&mut [0; 64]))?;
    Ok(received.1)
}

#[test]
fn a_live_agent_postpones_failing_open_and_the_flag_is_required() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        assert_eq!(step_aside_at(&web.agent)?, 0);
        web.running.terminate()?;
        web.running = with_flag(&web.agent).start()?;
        let first = step_aside_at(&web.agent)?;
        ensure!(first > 0, "the flag is without effect");
        eventually("it is postponed", || Ok(step_aside_at(&web.agent)? > first))?;
        web.running.kill()?;
        web.running = web.agent.start()?;
        assert_eq!(step_aside_at(&web.agent)?, 0);
        web.running.kill()?;
        assert_eq!(answers(&web.client, Web::ADDRESS, 10)?.len(), 1);
        Ok(())
    });
}
