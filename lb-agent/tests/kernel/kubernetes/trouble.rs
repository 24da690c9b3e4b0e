//! The API server fails in every way that the testbed knows: the known state stays in effect, and changes take effect as soon
//! as they arrive.

use std::fs;

use anyhow::Result;
use lb_testbed::api_server::{Behaviour, Disturbance, Fault, Kind};
use lb_testbed::{Sandbox, sandboxed};
use serde_json::json;

use super::{Web, address, service, write_token_kubeconfig};
use crate::support::{answers, eventually, failure, get, status};

/// Starts an agent that watches, causes trouble, makes a change during it, and ends the trouble: the change must take effect.
fn change_comes_through(
    sandbox: &Sandbox,
    cause: impl FnOnce(&Web) -> Result<()>,
    heal: impl FnOnce(&Web) -> Result<()>,
) -> Result<()> {
    let web = Web::new(sandbox, 2, 1)?;
    let agent = web.cluster.agent.clone().arg("--watch-timeout").arg("1s");
    let _running = agent.start()?;
    web.wait_for(&[0])?;
    web.cluster.wait_for_watches()?;
    cause(&web)?;
    web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
    // Every connect is answered, by an allowed pod.
    answers(&web.client, address(Web::NUMBER), 10)?;
    heal(&web)?;
    web.wait_for(&[1])
}

#[test]
fn changes_arrive_after_connections_are_cut() {
    sandboxed(|sandbox| {
        change_comes_through(
            sandbox,
            |web| {
                web.cluster.server.cut();
                Ok(())
            },
            |_| Ok(()),
        )
    });
}

#[test]
fn changes_arrive_after_a_watch_goes_silent() {
    sandboxed(|sandbox| disturbed(sandbox, Disturbance::Silence));
}

#[test]
fn changes_arrive_after_garbage_in_a_watch() {
    sandboxed(|sandbox| disturbed(sandbox, Disturbance::Garbage));
}

#[test]
fn changes_arrive_after_half_a_line_in_a_watch() {
    sandboxed(|sandbox| disturbed(sandbox, Disturbance::HalfLine));
}

fn disturbed(sandbox: &Sandbox, disturbance: Disturbance) -> Result<()> {
    change_comes_through(
        sandbox,
        |web| {
            web.cluster.server.disturb(None, disturbance);
            Ok(())
        },
        |_| Ok(()),
    )
}

#[test]
fn changes_arrive_after_too_many_requests() {
    sandboxed(|sandbox| answered(sandbox, 429));
}

#[test]
fn changes_arrive_after_server_errors() {
    sandboxed(|sandbox| answered(sandbox, 500));
}

#[test]
fn changes_arrive_after_not_found() {
    sandboxed(|sandbox| answered(sandbox, 404));
}

#[test]
fn changes_arrive_after_forbidden() {
    sandboxed(|sandbox| answered(sandbox, 403));
}

fn answered(sandbox: &Sandbox, code: u16) -> Result<()> {
    change_comes_through(
        sandbox,
        |web| {
            web.cluster.server.fail(Fault::answer(code));
            web.cluster.server.cut();
            eventually("the agent reports it", || {
                let trouble = web.cluster.watch_of(Kind::Service)?.trouble;
                Ok(trouble.is_some_and(|why| why.starts_with(&code.to_string())))
            })
        },
        |web| {
            web.cluster.server.heal();
            Ok(())
        },
    )
}

#[test]
fn a_resumed_watch_without_events_counts_as_recovered() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.wait_for_watches()?;
        let lists = web.cluster.watch_of(Kind::Node)?.lists;
        let server = &web.cluster.server;
        server.fail(Fault::close());
        server.cut();
        eventually("the agent reports it", || {
            Ok(web.cluster.watch_of(Kind::Node)?.trouble.is_some())
        })?;
        server.heal();
        eventually("it is over", || {
            Ok(web.cluster.watch_of(Kind::Node)?.trouble.is_none())
        })?;
        let watch = web.cluster.watch_of(Kind::Node)?;
        assert_eq!(watch.lists, lists, "no Node came, and none was listed");
        Ok(())
    });
}

#[test]
fn changes_arrive_after_the_history_expires() {
    sandboxed(|sandbox| forgotten(sandbox, false));
}

#[test]
fn changes_arrive_after_a_gone_status() {
    sandboxed(|sandbox| forgotten(sandbox, true));
}

fn forgotten(sandbox: &Sandbox, gone_as_http: bool) -> Result<()> {
    change_comes_through(
        sandbox,
        |web| {
            let server = &web.cluster.server;
            server.behave(Behaviour {
                gone_as_http,
                ..Behaviour::default()
            });
            server.fail(Fault::close());
            server.cut();
            server.delete(Kind::EndpointSlice, "default", "web-ipv4");
            server.compact();
            Ok(())
        },
        |web| {
            web.cluster.server.heal();
            Ok(())
        },
    )
}

#[test]
fn changes_arrive_from_a_server_with_another_history() {
    sandboxed(|sandbox| {
        change_comes_through(
            sandbox,
            |web| web.cluster.server.restart_in_the_past(),
            |_| Ok(()),
        )
    });
}

#[test]
fn objects_deleted_during_an_outage_are_removed() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        web.cluster
            .apply_service("short-lived", 11, &web.servers.ipv4())?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        let server = &web.cluster.server;
        server.fail(Fault::close());
        server.cut();
        server.delete(Kind::Service, "default", "short-lived");
        server.compact();
        assert_eq!(answers(&web.client, address(11), 3)?.len(), 1, "as known");
        server.heal();
        eventually("it is gone", || {
            Ok(status(&web.cluster.agent)?.frontends == 1)
        })?;
        web.wait_for(&[0])
    });
}

#[test]
fn changes_arrive_after_a_token_expires() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 1)?;
        let token = sandbox.dir().join("token");
        fs::write(&token, "first")?;
        web.cluster.server.require_tokens(["first"]);
        write_token_kubeconfig(&web.cluster, &token)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;

        web.cluster.server.require_tokens(["second"]);
        web.cluster.server.cut();
        eventually("the agent reports it", || {
            let trouble = web.cluster.watch_of(Kind::Service)?.trouble;
            Ok(trouble.is_some_and(|why| why.starts_with("401")))
        })?;
        fs::write(&token, "second")?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
        web.wait_for(&[1])
    });
}

#[test]
fn an_agent_hands_over_only_to_one_that_has_listed_every_kind() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 1)?;
        let mut running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.wait_for_watches()?;
        let server = &web.cluster.server;
        server.fail(Fault::answer(500).with(Kind::EndpointSlice));
        let mut next = web.cluster.agent.spawn()?;
        next.wait_for_event("hand_over.postponed")?;
        next.wait_for_event("source.failed")?;
        web.cluster
            .apply_service("other", 11, &web.servers.ipv4())?;
        eventually("the first agent continues", || {
            Ok(status(&web.cluster.agent)?.services == 2)
        })?;
        assert!(!running.log().has("hand_over.asked"));

        server.heal();
        next.wait_ready()?;
        running.wait_for_event("agent.stands_by")?;
        assert_eq!(answers(&web.client, address(11), 20)?.len(), 2);
        Ok(())
    });
}

#[test]
fn nothing_takes_effect_before_every_kind_was_listed() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let mut running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        running.kill()?;

        // The next agent gets no slices for a while: the state of the first one stays.
        let server = &web.cluster.server;
        server.fail(Fault::answer(500).with(Kind::EndpointSlice));
        server.apply(&service("new", 11).to_json())?;
        let mut running = web.cluster.agent_with_http().spawn()?;
        running.wait_for_event("source.failed")?;
        assert_eq!(answers(&web.client, address(Web::NUMBER), 5)?.len(), 1);
        let not_there = failure(&web.client, address(11))?;
        assert_ne!(not_there.kind(), std::io::ErrorKind::ConnectionRefused);
        let (code, text) = get("readyz")?;
        assert_eq!(code, 503, "{text}");
        assert!(
            text.contains("EndpointSlices were not listed yet: 500"),
            "{text}"
        );
        assert_eq!(get("healthz")?.0, 200);

        server.heal();
        running.wait_ready()?;
        let refused = failure(&web.client, address(11))?;
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(get("readyz")?.0, 200);
        let metrics = get("metrics")?.1;
        for line in [
            "socklb_ready 1",
            "socklb_services 2",
            "socklb_source_listed{kind=\"EndpointSlice\"} 1",
            "socklb_drift_checks_total ",
            "socklb_drift_repairs_total{table=\"hooks\"} 0",
            "socklb_refused_calls_total{reason=\"no_backend\"} 1",
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
        web.wait_for(&[0])
    });
}

#[test]
fn an_unreadable_object_does_not_affect_others() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let mut broken = service("broken", 11).to_json();
        broken["spec"]["ports"] = json!([{"port": "eighty"}]);
        server.apply(&broken)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        let problems = status(&web.cluster.agent)?.problems;
        assert!(
            problems
                .iter()
                .any(|line| line.starts_with("Service default/broken: spec.ports[0].port:")),
            "{problems:?}"
        );
        server.apply(&service("broken", 11).to_json())?;
        eventually("it is served", || {
            Ok(status(&web.cluster.agent)?.frontends == 2)
        })?;
        assert!(status(&web.cluster.agent)?.problems.is_empty());
        // The known state stays when the server fails again.
        server.apply(&broken)?;
        eventually("it is reported", || {
            Ok(!status(&web.cluster.agent)?.problems.is_empty())
        })?;
        assert_eq!(status(&web.cluster.agent)?.frontends, 2);
        Ok(())
    });
}
