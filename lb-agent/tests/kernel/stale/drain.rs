//! With a drain time, connections to a stopped backend end later, and not all at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use lb_testbed::{
    Agent, AgentProcess, Endpoint, Event, Family, Manifests, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, sandboxed,
};

use super::wait_for_counts;
use crate::support::{PORT, Servers, TARGET, agent, cluster_ip, eventually, status};

const ANNOTATION: &str = "socklb.dev/drain";

/// Longer than a test takes.
const LONG: &str = "1h";

/// Two pods that all Services share.
struct Scene {
    servers: Servers,
    client: Pod,
    manifests: Manifests,
}

/// A Service 10.96.0.`number`.
#[derive(Clone, Copy)]
struct Shop {
    name: &'static str,
    number: u8,
    drain: Option<&'static str>,
}

const WEB: Shop = Shop {
    name: "web",
    number: 10,
    drain: Some("4s"),
};

const OTHER: Shop = Shop {
    name: "other",
    number: 20,
    drain: Some("1s"),
};

impl Scene {
    /// Each Service has the first pod as its backend.
    fn new(sandbox: &Sandbox, shops: &[Shop]) -> Result<Self> {
        let scene = Self {
            servers: Servers::start(sandbox, 2)?,
            client: sandbox.pod("client")?,
            manifests: sandbox.manifests()?,
        };
        shops
            .iter()
            .try_for_each(|shop| scene.write(*shop, [scene.ready(0)]))?;
        Ok(scene)
    }

    fn ready(&self, pod: usize) -> Endpoint {
        Endpoint::new(self.servers.pods[pod].ipv4())
    }

    fn write(&self, shop: Shop, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<()> {
        let mut service = ServiceManifest::new(shop.name)
            .cluster_ip(cluster_ip(shop.number))
            .port("http", PORT);
        if let Some(time) = shop.drain {
            service = service.annotation(ANNOTATION, time);
        }
        let slice = SliceManifest::new(shop.name, Family::IPv4).port("http", TARGET);
        let slice = endpoints.into_iter().fold(slice, SliceManifest::endpoint);
        let name = format!("{}.json", shop.name);
        self.manifests
            .write(&name, [service.to_json(), slice.to_json()])
    }

    /// The first pod is no longer a backend.
    fn stop(&self, shop: Shop) -> Result<()> {
        self.write(shop, [self.ready(1)])
    }

    fn agent(&self, sandbox: &Sandbox) -> Agent {
        agent(sandbox, &self.manifests).arg("--log=info,lb_agent::sockets=debug")
    }

    /// Connections whose servers have greeted.
    fn connections(&self, shop: Shop, number: usize) -> Result<Vec<TcpStream>> {
        let to = SocketAddr::from((cluster_ip(shop.number), PORT));
        let name = self.servers.pods[0].name();
        let open = || -> Result<TcpStream> {
            let mut stream = connect(to)?;
            let mut greeting = vec![0; name.len() + 1];
            stream.read_exact(&mut greeting)?;
            ensure!(String::from_utf8(greeting)?.trim_end() == name);
            Ok(stream)
        };
        self.client
            .enter(|| (0..number).map(|_| open()).collect())?
    }
}

fn is_ended(stream: &TcpStream) -> bool {
    stream.peer_addr().is_err()
}

/// Checks that the server echoes.
fn check_open(streams: &mut [TcpStream]) -> Result<()> {
    for stream in streams {
        stream.write_all(b"still here")?;
        let mut echo = [0; 10];
        stream.read_exact(&mut echo)?;
        assert_eq!(&echo, b"still here");
    }
    Ok(())
}

/// Waits for this event about a Service.
fn wait_for(running: &mut AgentProcess, event: &str, shop: Shop) -> Result<Event> {
    running.wait_for_log(&format!("{event} of {}", shop.name), |log| {
        let mut events = log.events(event);
        events.find(|of| of.text("service") == shop.name).cloned()
    })
}

fn wait_until_drained(
    running: &mut AgentProcess,
    shop: Shop,
    ended: usize,
    closed: usize,
) -> Result<Event> {
    let event = wait_for(running, "backend.drained", shop)?;
    let count = |field: &str| event[field].as_u64();
    assert_eq!(event.text("reason"), "Done");
    assert_eq!(count("ended"), u64::try_from(ended).ok(), "{event}");
    assert_eq!(count("closed"), u64::try_from(closed).ok(), "{event}");
    assert_eq!(count("left"), Some(0), "{event}");
    Ok(event)
}

fn time(event: &Event) -> Result<Timestamp> {
    event.time().parse().context("it is a time")
}

#[test]
fn connections_end_one_after_the_other_in_the_second_half_of_the_grace() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox, &[WEB])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let mut streams = scene.connections(WEB, 22)?;
        let mut closing = streams.split_off(20);
        scene.stop(WEB)?;
        let begun = wait_for(&mut running, "backend.draining", WEB)?;
        assert_eq!(begun["connections"], 22);
        assert_eq!(begun["seconds"], 4);
        let stopped = SocketAddr::from((scene.servers.pods[0].ipv4(), TARGET));
        assert_eq!(begun.text("backend"), stopped.to_string());
        let now = status(&agent)?.socket_termination;
        assert_eq!((now.draining_backends, now.draining_connections), (1, 22));
        check_open(&mut closing)?;
        drop(closing);

        let over = wait_until_drained(&mut running, WEB, 20, 2)?;
        assert!(streams.iter().all(is_ended));
        for mut stream in streams {
            let error = stream.read(&mut [0]).err();
            let number = error.and_then(|error| error.raw_os_error());
            assert_eq!(number, Some(libc::ECONNABORTED));
        }
        wait_for_counts(&agent, 0, 20)?;
        let now = status(&agent)?.socket_termination;
        assert_eq!((now.draining_backends, now.draining_connections), (0, 0));

        let log = running.log();
        let searches = log.events("sockets.searched");
        let batches: Vec<&Event> = searches.filter(|event| event["ended"] != 0).collect();
        ensure!(batches.len() > 2, "all ended at once: {batches:?}");
        let first = time(batches[0])?.duration_since(time(&begun)?);
        // The event is logged right after the grace has begun.
        ensure!(first >= SignedDuration::from_millis(1_950), "{first}");
        ensure!(time(&over)? > time(&begun)?);
        ensure!(!log.has("sockets.ended"));
        Ok(())
    });
}

#[test]
fn a_terminating_backend_that_serves_keeps_its_connections() {
    sandboxed(|sandbox| {
        let web = Shop {
            drain: Some("1s"),
            ..WEB
        };
        let scene = Scene::new(sandbox, &[web, OTHER])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let mut streams = scene.connections(web, 5)?;
        let _others = scene.connections(OTHER, 5)?;
        let terminating = scene.ready(0).conditions(false, true, true);
        scene.write(web, [terminating, scene.ready(1)])?;
        eventually("it gets no new connections", || {
            let fresh = scene.connections(web, 1);
            Ok(fresh.is_err())
        })?;
        scene.stop(OTHER)?;
        wait_until_drained(&mut running, OTHER, 5, 0)?;
        check_open(&mut streams)?;
        // It serves no longer.
        scene.write(
            web,
            [
                scene.ready(0).conditions(false, false, true),
                scene.ready(1),
            ],
        )?;
        wait_until_drained(&mut running, web, 5, 0)?;
        assert!(streams.iter().all(is_ended));
        Ok(())
    });
}

#[test]
fn connections_through_a_deleted_service_get_its_grace() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox, &[OTHER])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let streams = scene.connections(OTHER, 5)?;
        scene.manifests.remove("other.json")?;
        let begun = wait_for(&mut running, "backend.draining", OTHER)?;
        assert_eq!(begun["seconds"], 1);
        wait_until_drained(&mut running, OTHER, 5, 0)?;
        assert!(streams.iter().all(is_ended));
        Ok(())
    });
}

#[test]
fn a_backend_that_comes_back_keeps_its_connections() {
    sandboxed(|sandbox| {
        let other = Shop {
            drain: WEB.drain,
            ..OTHER
        };
        let scene = Scene::new(sandbox, &[WEB, other])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let mut streams = scene.connections(WEB, 5)?;
        let _others = scene.connections(other, 5)?;
        scene.stop(WEB)?;
        wait_for(&mut running, "backend.draining", WEB)?;
        scene.write(WEB, [scene.ready(0), scene.ready(1)])?;
        scene.stop(other)?;
        let over = wait_for(&mut running, "backend.drained", WEB)?;
        assert_eq!(over.text("reason"), "Returned");
        wait_until_drained(&mut running, other, 5, 0)?;
        check_open(&mut streams)?;
        Ok(())
    });
}

#[test]
fn a_changed_annotation_counts_for_those_that_drain() {
    sandboxed(|sandbox| {
        let long = Shop {
            drain: Some(LONG),
            ..WEB
        };
        let scene = Scene::new(sandbox, &[long])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let streams = scene.connections(long, 5)?;
        scene.stop(long)?;
        wait_for(&mut running, "backend.draining", long)?;
        scene.stop(Shop {
            drain: Some("1s"),
            ..long
        })?;
        wait_until_drained(&mut running, long, 5, 0)?;
        assert!(streams.iter().all(is_ended));
        Ok(())
    });
}

#[test]
fn a_wrong_annotation_is_reported_and_the_default_used() {
    sandboxed(|sandbox| {
        let wrong = Shop {
            drain: Some("soon"),
            ..WEB
        };
        let scene = Scene::new(sandbox, &[wrong])?;
        let agent = scene.agent(sandbox).arg("--drain=2s");
        let mut running = agent.start()?;
        let problems = status(&agent)?.problems;
        ensure!(
            problems.len() == 1
                && problems[0].starts_with("Service default/web")
                && problems[0].contains(ANNOTATION),
            "{problems:?}"
        );
        let streams = scene.connections(wrong, 5)?;
        scene.stop(wrong)?;
        let begun = wait_for(&mut running, "backend.draining", wrong)?;
        assert_eq!(begun["seconds"], 2);
        wait_until_drained(&mut running, wrong, 5, 0)?;
        assert!(streams.iter().all(is_ended));
        Ok(())
    });
}

#[test]
fn with_terminate_tcp_only_services_without_a_drain_time_lose_connections_at_once() {
    sandboxed(|sandbox| {
        let [long, plain] = [Some(LONG), None].map(|drain| Shop { drain, ..WEB });
        let plain = Shop {
            name: OTHER.name,
            number: OTHER.number,
            ..plain
        };
        let scene = Scene::new(sandbox, &[long, plain])?;
        let agent = scene.agent(sandbox).arg("--terminate-tcp");
        let mut running = agent.start()?;
        let mut streams = scene.connections(long, 5)?;
        let others = scene.connections(plain, 5)?;
        scene.stop(long)?;
        wait_for(&mut running, "backend.draining", long)?;
        scene.stop(plain)?;
        wait_for_counts(&agent, 0, 5)?;
        assert!(others.iter().all(is_ended));
        check_open(&mut streams)?;
        let now = status(&agent)?.socket_termination;
        assert_eq!((now.draining_backends, now.draining_connections), (1, 5));
        // Without the annotation the flag applies to those that drain.
        scene.stop(Shop {
            drain: None,
            ..long
        })?;
        wait_for_counts(&agent, 0, 10)?;
        assert!(streams.iter().all(is_ended));
        let over = wait_for(&mut running, "backend.drained", long)?;
        assert_eq!(over.text("reason"), "Off");
        Ok(())
    });
}

#[test]
fn the_next_agent_begins_the_grace_anew() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox, &[WEB])?;
        let agent = scene.agent(sandbox);
        let mut running = agent.start()?;
        let mut streams = scene.connections(WEB, 5)?;
        scene.stop(WEB)?;
        wait_for(&mut running, "backend.draining", WEB)?;
        running.kill()?;
        drop(running);
        check_open(&mut streams)?;
        let mut running = agent.start()?;
        let begun = wait_for(&mut running, "backend.draining", WEB)?;
        assert_eq!(begun["connections"], 5);
        wait_until_drained(&mut running, WEB, 5, 0)?;
        assert!(streams.iter().all(is_ended));
        Ok(())
    });
}
