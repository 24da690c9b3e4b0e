//! The API server is unreachable for a while, or sends half of its lists: the pinned state is served meanwhile, and probes and
//! metrics report it.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_testbed::api_server::{
    ApiServer, Behaviour, Disturbance, Fault, Kind, StreamingLists, Verb,
};
use lb_testbed::{Sandbox, sandboxed};

use super::{Web, address, slice};
use crate::churn::Client;
use crate::support::{answers, eventually, failure, get, status, wait_for_backends};

/// Ends the server, so that the kernel refuses connections. Returns its address, for the next one.
fn take_down(web: &mut Web) -> Result<std::net::SocketAddr> {
    let place = web.cluster.server.address();
    web.cluster.server = ApiServer::start("127.0.0.1:0")?;
    Ok(place)
}

fn assert_told(path: &str, parts: &[&str]) -> Result<()> {
    let text = get(path)?.1;
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in /{path}:\n{text}");
    }
    Ok(())
}

#[test]
fn an_agent_without_its_server_keeps_the_pinned_tables() {
    sandboxed(|sandbox| {
        let mut web = Web::new(sandbox, 3, 2)?;
        let agent = web.cluster.agent_with_http();
        let mut running = agent.start()?;
        web.wait_for(&[0, 1])?;
        running.kill()?;

        let place = take_down(&mut web)?;
        let mut running = agent.spawn()?;
        running.wait_for_event("source.failed")?;
        assert_eq!(answers(&web.client, address(Web::NUMBER), 40)?.len(), 2);
        let (code, text) = get("readyz")?;
        assert_eq!(code, 503, "{text}");
        assert_told("readyz", &["Services were not listed yet: "])?;
        assert_told(
            "metrics",
            &[
                "socklb_ready 0",
                "socklb_frontends 1",
                "socklb_backends 2",
                "socklb_source_listed{kind=\"Service\"} 0",
                "socklb_source_in_trouble{kind=\"Service\"} 1",
            ],
        )?;
        assert_eq!(get("healthz")?.0, 200, "a restart would not help");

        web.cluster.server = ApiServer::start(place)?;
        web.cluster
            .apply_service("web", Web::NUMBER, &web.servers.ipv4()[2..])?;
        running.wait_ready()?;
        web.wait_for(&[2])?;
        assert_told(
            "metrics",
            &[
                "socklb_ready 1",
                "socklb_source_in_trouble{kind=\"Service\"} 0",
            ],
        )
    });
}

#[test]
fn a_server_returns_from_a_long_outage_with_another_history() {
    sandboxed(|sandbox| {
        let mut web = Web::new(sandbox, 3, 2)?;
        web.cluster
            .apply_service("short-lived", 11, &web.servers.ipv4())?;
        let agent = web.cluster.agent_with_http();
        let _running = agent.arg("--watch-timeout").arg("1s").start()?;
        web.wait_for(&[0, 1])?;
        // A history far ahead of the next server's.
        for end in [1, 3, 2].repeat(20) {
            web.cluster.apply_slice("web", &web.servers.ipv4()[..end])?;
        }
        web.wait_for(&[0, 1])?;
        let before = web.cluster.server.revision();
        let client = Client::start(&web.client, address(Web::NUMBER), Result::is_ok);

        let place = take_down(&mut web)?;
        eventually("attempts fail", || {
            Ok(web.cluster.watch_of(Kind::Service)?.errors >= 2)
        })?;
        let (code, text) = get("readyz")?;
        assert_eq!(code, 200, "what is known is in effect: {text}");
        assert_told("readyz", &["Services are as they were "])?;
        assert_told("metrics", &["socklb_source_in_trouble{kind=\"Service\"} 1"])?;
        assert_eq!(answers(&web.client, address(11), 40)?.len(), 3, "as known");

        web.cluster.server = ApiServer::start(place)?;
        web.cluster
            .apply_service("web", Web::NUMBER, &web.servers.ipv4()[1..])?;
        web.cluster
            .apply_service("new", 12, &web.servers.ipv4()[..1])?;
        assert!(web.cluster.server.revision() < before);
        web.wait_for(&[1, 2])?;
        wait_for_backends(&web.cluster.agent, "new", &web.servers.ipv4()[..1])?;
        eventually("objects unknown to the new server are removed", || {
            Ok(status(&web.cluster.agent)?.frontends == 2)
        })?;
        assert_eq!(answers(&web.client, address(12), 5)?.len(), 1);
        failure(&web.client, address(11))?;
        client.finish()?;
        // From here on its watches are followed.
        web.cluster.apply_slice("web", &web.servers.ipv4()[..1])?;
        web.wait_for(&[0])?;
        assert_told("metrics", &["socklb_source_in_trouble{kind=\"Service\"} 0"])
    });
}

#[test]
fn an_incomplete_streaming_list_removes_nothing() {
    sandboxed(|sandbox| half_of_the_slices(sandbox, 4, StreamingLists::Served, half_of_a_stream()));
}

#[test]
fn an_incomplete_paged_list_removes_nothing() {
    // Two pages, the second of which never arrives.
    let second = Fault::answer(500).on(Verb::List).after(1);
    sandboxed(|sandbox| half_of_the_slices(sandbox, 600, StreamingLists::Refused, second));
}

fn half_of_a_stream() -> Fault {
    Fault::watch(Disturbance::HalfOfTheList)
}

/// Services whose endpoints an earlier agent knew; the next agent first gets only half of the slices.
fn half_of_the_slices(
    sandbox: &Sandbox,
    slices: usize,
    streaming_lists: StreamingLists,
    fault: Fault,
) -> Result<()> {
    let web = Web::new(sandbox, 2, 1)?;
    let server = &web.cluster.server;
    server.behave(Behaviour {
        streaming_lists,
        ..Behaviour::default()
    });
    let all = web.servers.ipv4();
    // Names before and after the others in order.
    web.cluster.apply_service("a-first", 11, &all)?;
    web.cluster.apply_service("z-last", 12, &all)?;
    for number in 3..slices {
        let other = slice(&format!("no-service-{number}")).addresses(all.clone());
        server.apply(&other.to_json())?;
    }
    let agent = web.cluster.agent_with_http();
    let agent = agent.arg("--watch-timeout").arg("1s");
    let mut running = agent.start()?;
    web.wait_for(&[0])?;
    running.kill()?;

    server.fail(fault.with(Kind::EndpointSlice));
    let mut running = agent.spawn()?;
    running.wait_for_event("tables.leftovers_kept")?;
    eventually("all Services were listed, and not all slices", || {
        let slices = web.cluster.watch_of(Kind::EndpointSlice)?;
        let is_half = slices.heard_seconds_ago.is_some() && !slices.listed;
        Ok(web.cluster.watch_of(Kind::Service)?.listed && is_half)
    })?;
    for number in [11, 12] {
        assert_eq!(answers(&web.client, address(number), 40)?.len(), 2);
    }
    let (code, text) = get("readyz")?;
    assert_eq!(code, 503, "{text}");
    assert_told("readyz", &["EndpointSlices were not listed yet"])?;
    assert_told(
        "metrics",
        &[
            "socklb_ready 0",
            "socklb_source_listed{kind=\"EndpointSlice\"} 0",
            "socklb_source_listed{kind=\"Service\"} 1",
        ],
    )?;
    web.cluster.apply_slice("z-last", &all[..1])?;
    server.heal();
    server.cut();
    running.wait_ready()?;
    assert_eq!(answers(&web.client, address(11), 40)?.len(), 2);
    assert_eq!(answers(&web.client, address(12), 40)?.len(), 1);
    web.wait_for(&[0])
}

/// A control plane node loses its power: no FIN and no RST reaches its clients, which wait for events on open connections.
#[test]
fn a_server_lost_silently_is_noticed_before_the_watch_times_out() {
    sandboxed(|sandbox| {
        let mut web = Web::new(sandbox, 2, 1)?;
        let host = sandbox.pod("server")?;
        let listener = host.enter(|| TcpListener::bind((host.ipv4(), 0)))??;
        web.cluster.server = ApiServer::serve(listener)?;
        web.cluster
            .server
            .write_kubeconfig(&web.cluster.kubeconfig)?;
        web.cluster
            .apply_service("web", Web::NUMBER, &web.servers.ipv4()[..1])?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.wait_for_watches()?;

        host.set_link(false)?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
        let began = Instant::now();
        while web.cluster.watch_of(Kind::EndpointSlice)?.trouble.is_none() {
            // The watch itself would time out after 225 to 300 s.
            ensure!(
                began.elapsed() < Duration::from_secs(120),
                "it is not missed"
            );
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(answers(&web.client, address(Web::NUMBER), 5)?.len(), 1);
        host.set_link(true)?;
        web.wait_for(&[1])
    });
}

#[test]
fn a_server_restarted_without_history_is_listed_again() {
    sandboxed(|sandbox| {
        let mut web = Web::new(sandbox, 2, 1)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.wait_for_watches()?;
        let lists = web.cluster.watch_of(Kind::EndpointSlice)?.lists;

        // Another server takes its place, to which no client connects.
        let other = ApiServer::start("127.0.0.1:0")?;
        let stopped = std::mem::replace(&mut web.cluster.server, other).stop();
        eventually("all kinds are in trouble", || {
            let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Node];
            let watches = kinds.map(|kind| web.cluster.watch_of(kind));
            Ok(watches.into_iter().flatten().all(|w| w.trouble.is_some()))
        })?;
        web.cluster.server = stopped.start()?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
        web.wait_for(&[1])?;
        let watch = web.cluster.watch_of(Kind::EndpointSlice)?;
        assert!(watch.lists > lists, "{} lists", watch.lists);
        eventually("no kind is in trouble", || {
            let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Node];
            let watches = kinds.map(|kind| web.cluster.watch_of(kind));
            Ok(watches.into_iter().flatten().all(|w| w.trouble.is_none()))
        })
    });
}
