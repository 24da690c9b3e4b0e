//! Services that change: more backends, fewer, none, and very many Services.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use anyhow::Result;

use lb_testbed::{Family, ServiceManifest, SliceManifest, sandboxed};

use crate::support::{
    PORT, Servers, TARGET, Web, agent, answers, cluster_ip, eventually, failure, status,
    wait_for_backends, write_service,
};

#[test]
fn a_service_can_be_scaled_to_zero_and_back() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 5, 2)?;
        let all = web.servers.ipv4();

        let to = Web::ADDRESS;
        for backends in [&all[..2], &all[..], &all[4..], &[], &all[1..4]] {
            write_service(&web.manifests, "web", cluster_ip(10), backends)?;
            wait_for_backends(&web.agent, "web", backends)?;
            if backends.is_empty() {
                let error = failure(&web.client, to)?;
                assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
                continue;
            }
            let answers = answers(&web.client, to, 40 * backends.len())?;
            let wanted: Vec<&str> = web
                .servers
                .pods
                .iter()
                .filter(|pod| backends.contains(&pod.ipv4().into()))
                .map(lb_testbed::Pod::name)
                .collect();
            let mut names: Vec<&str> = answers.keys().map(String::as_str).collect();
            names.sort_by_key(|name| wanted.iter().position(|wanted| wanted == name));
            assert_eq!(names, wanted);
        }
        Ok(())
    });
}

#[test]
fn a_deleted_service_is_not_served() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let to = Web::ADDRESS;
        answers(&web.client, to, 1)?;

        web.manifests.remove("web.json")?;
        eventually("the Service is gone", || {
            Ok(status(&web.agent)?.frontends == 0)
        })?;
        let error = failure(&web.client, to)?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        // Everything that it used is free again.
        eventually("nothing is quarantined", || {
            Ok(status(&web.agent)?.resting == 0)
        })?;
        Ok(())
    });
}

#[test]
fn ten_thousand_services_are_added_and_most_removed() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 3)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        // The backends' addresses are the same three, in an order that distinguishes the Services.
        let all = servers.ipv4();
        for file in 0..10_u32 {
            let objects = (0..1_000_u32).flat_map(|number| {
                let number = file * 1_000 + number;
                service(number, &all)
            });
            manifests.write(&format!("services-{file}.json"), objects)?;
        }
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let full = status(&agent)?;
        assert_eq!((full.services, full.frontends), (10_000, 10_000));
        assert_eq!(full.backends, 10_000);

        let check = |numbers: Range<u32>, unknown: u32| -> Result<()> {
            for number in numbers.step_by(97) {
                let to = SocketAddr::from((many_ip(number), PORT));
                let answers = answers(&client, to, 1)?;
                let wanted = servers.pods[number as usize % 3].name();
                assert_eq!(answers.keys().collect::<Vec<_>>(), [wanted]);
            }
            let error = failure(&client, (many_ip(unknown), PORT).into())?;
            assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
            Ok(())
        };
        check(0..10_000, 10_000)?;

        // So many are removed that the filter in front of the hash is rebuilt.
        for file in 0..9 {
            manifests.remove(&format!("services-{file}.json"))?;
        }
        eventually("nine thousand Services are gone", || {
            Ok(status(&agent)?.services == 1_000)
        })?;
        check(9_000..10_000, 8_999)
    });
}

fn many_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 97, 0, 0)) + number)
}

/// A Service with one of the backends.
fn service(number: u32, backends: &[IpAddr]) -> [serde_json::Value; 2] {
    let name = format!("service-{number}");
    let service = ServiceManifest::new(&name)
        .cluster_ip(many_ip(number))
        .port("http", PORT);
    let slice = SliceManifest::new(&name, Family::IPv4)
        .port("http", TARGET)
        .address(backends[number as usize % backends.len()]);
    [service.to_json(), slice.to_json()]
}

#[test]
fn a_file_with_an_error_keeps_its_last_objects() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        web.manifests
            .write_text("web.json", "{\"kind\": \"Service\", ")?;
        web.running
            .wait_for_event_with("problem.reported", |problem| {
                problem.text("object").contains("web.json")
            })?;
        answers(&web.client, Web::ADDRESS, 10)?;
        Ok(())
    });
}
