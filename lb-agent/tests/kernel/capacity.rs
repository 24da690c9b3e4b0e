//! Full tables of the agent: which Services are admitted, and what is reported.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, Event, Family, Manifests, NamedServer, Pod, ServiceManifest, SliceManifest, connect,
    sandboxed,
};

use crate::support::{
    HTTP, PORT, TARGET, agent, cluster_ip, eventually, get, status, wait_for_backends,
};

/// A Service of that age with this many backends; its name contains its number.
fn write_aged(manifests: &Manifests, number: u8, hour: u8, backends: &[IpAddr]) -> Result<()> {
    let name = format!("s{number}");
    let mut service = ServiceManifest::new(&name)
        .cluster_ip(cluster_ip(number))
        .port("http", PORT)
        .to_json();
    service["metadata"]["creationTimestamp"] = format!("2026-01-01T{hour:02}:00:00Z").into();
    let slice = SliceManifest::new(&name, Family::IPv4)
        .port("http", TARGET)
        .addresses(backends.iter().copied());
    manifests.write(&format!("{name}.json"), [service, slice.to_json()])
}

/// Whether the ClusterIPs of exactly these of the five Services are answered.
fn are_answered(client: &Pod, numbers: &[u8]) -> Result<bool> {
    let are_answered = client.enter(|| {
        (1..=5).all(|number| {
            let answer = connect((cluster_ip(number), PORT));
            answer.is_ok() == numbers.contains(&number)
        })
    })?;
    Ok(are_answered)
}

/// Lines of `problems` about full tables, by the object that they name.
fn refused(agent: &Agent) -> Result<Vec<String>> {
    let mut problems = status(agent)?.problems;
    problems.retain(|problem| problem.contains("--max-"));
    Ok(problems)
}

#[test]
fn refused_services_are_named_and_admitted_when_there_is_room() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("server")?;
        let client = sandbox.pod("client")?;
        let _server = NamedServer::tcp(&pod, TARGET, "server")?;
        let all: Vec<IpAddr> = (100..110)
            .map(|number| Ipv4Addr::new(10, 244, 0, number).into())
            .collect();
        for address in &all {
            pod.add_address(*address)?;
        }
        let manifests = sandbox.manifests()?;
        // 28 backends are wanted; the newest Service has the first name.
        for (number, hour) in [(1, 9), (2, 2), (3, 8), (4, 1)] {
            write_aged(&manifests, number, hour, &all[..7])?;
        }
        let agent = agent(sandbox, &manifests);
        let agent = agent.arg("--http").arg(HTTP.to_string());
        // That is 23 backends, since some may be quarantined.
        let agent = agent.arg("--max-endpoints").arg("16");
        let mut running = agent.start()?;
        ensure!(are_answered(&client, &[2, 3, 4])?);
        let is_s1 = |event: &Event| event["service_port"] == "default/s1:http/TCP (IPv4)";
        let s1 = running.wait_for_event_with("service_port.refused", is_s1)?;
        let full = running.wait_for_event("tables.nearly_full")?;
        assert_eq!(full["table"], "BACKENDS");
        assert_eq!(full["flag"], "--max-endpoints");
        let problems = refused(&agent)?;
        assert_eq!(problems.len(), 2, "{problems:?}");
        let problem = s1.text("problem");
        assert_eq!(problems[0], format!("Service default/s1: {problem}"));
        for part in ["BACKENDS", "7 needed, 2 left", "--max-endpoints"] {
            ensure!(problem.contains(part), "{part} is not in {problem}");
        }
        ensure!(problems[1].starts_with("table BACKENDS"), "{problems:?}");
        let tables = status(&agent)?.tables;
        let backends = tables.iter().find(|table| table.table == "BACKENDS");
        let backends = backends.context("BACKENDS is one of the tables")?;
        assert_eq!((backends.used, backends.capacity), (21, 23));
        let metrics = get("metrics")?.1;
        for line in [
            "socklb_table_used{table=\"BACKENDS\"} 21",
            "socklb_table_capacity{table=\"BACKENDS\"} 23",
            "socklb_service_ports_refused 1",
        ] {
            ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
        }

        // An admitted Service that grows does not fit: all admitted Services keep their state, newer ones included.
        write_aged(&manifests, 4, 1, &all)?;
        eventually("its growth is refused", || {
            let problems = refused(&agent)?;
            let grows = |problem: &String| {
                problem.contains("default/s4") && problem.contains("is not in effect as it is now")
            };
            Ok(problems.len() == 3 && problems.iter().any(grows))
        })?;
        ensure!(are_answered(&client, &[2, 3, 4])?);

        // The oldest waiting Service is admitted first, and then there is no room for another.
        write_aged(&manifests, 5, 5, &all[..7])?;
        eventually("a new one does not fit either", || {
            Ok(status(&agent)?.service_ports_refused == 3)
        })?;
        manifests.remove("s3.json")?;
        eventually("one of them fits", || {
            Ok(status(&agent)?.service_ports_refused == 2)
        })?;
        wait_for_backends(&agent, "s4", &all)?;
        ensure!(are_answered(&client, &[2, 4])?);
        running.wait_for_event_with("service_port.accepted", |accepted| {
            accepted["service_port"] == "default/s4:http/TCP (IPv4)"
        })?;

        manifests.remove("s2.json")?;
        manifests.remove("s4.json")?;
        eventually("all Services fit", || {
            Ok(status(&agent)?.service_ports_refused == 0)
        })?;
        ensure!(are_answered(&client, &[1, 5])?);
        running.wait_for_event("tables.no_longer_full")?;
        assert_eq!(refused(&agent)?, Vec::<String>::new());
        let log = running.log();
        let refused = log.events("service_port.refused");
        assert_eq!(refused.filter(|event| is_s1(event)).count(), 1, "{log}");
        Ok(())
    });
}
