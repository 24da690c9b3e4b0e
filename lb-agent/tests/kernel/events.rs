//! `lb-agent events`: what the agent did, and single refused calls and failed connections.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, Manifests, Pod, Sandbox, connect, connect_name, sandboxed};
use serde_json::{Value, json};

use crate::support::{PORT, TARGET, Web, agent, cluster_ip, write_service};

fn command(agent: &Agent, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.arg("events").args(["-o", "json"]).args(args);
    command.arg("--socket").arg(agent.socket());
    command
}

/// The remembered events.
fn events(agent: &Agent, args: &[&str]) -> Result<Vec<Value>> {
    let output = command(agent, args).output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// A command that follows events, ended on drop.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    /// Starts it, and waits until the programs report their events to it.
    fn start(agent: &Agent, args: &[&str]) -> Result<Self> {
        let mut child = command(agent, args)
            .arg("--follow")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let mut follower = Self {
            child,
            lines: BufReader::new(stdout),
        };
        // The agent's start is among the remembered events, which come first.
        if args.is_empty() {
            follower.next("agent.ready")?;
        }
        Ok(follower)
    }

    /// Waits for the next event of this name.
    fn next(&mut self, name: &str) -> Result<Value> {
        loop {
            let event = self.any()?;
            if event["event"] == name {
                return Ok(event);
            }
        }
    }

    fn any(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "the command ended");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn to(number: u8) -> SocketAddr {
    (cluster_ip(number), PORT).into()
}

/// Services without a backend, and with one that does not listen.
fn troubled(sandbox: &Sandbox) -> Result<(Manifests, Pod)> {
    let deaf = sandbox.pod("deaf")?;
    let manifests = sandbox.manifests()?;
    write_service(&manifests, "empty", cluster_ip(11), &[])?;
    write_service(&manifests, "deaf", cluster_ip(12), &[deaf.ipv4().into()])?;
    Ok((manifests, deaf))
}

#[test]
fn the_agents_own_events_are_remembered() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let all = events(&web.agent, &[])?;
        let names: Vec<&str> = all
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        for name in ["hooks.attached", "agent.ready"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let ready = events(&web.agent, &["--event", "agent."])?;
        assert!(ready.iter().all(|event| {
            event["event"]
                .as_str()
                .is_some_and(|name| name.starts_with("agent."))
        }));
        let ready = ready.iter().find(|event| event["event"] == "agent.ready");
        let ready = ready.context("the agent is ready")?;
        assert_eq!(
            (&ready["level"], &ready["fields"]["service_ports"]),
            (&json!("info"), &json!(1))
        );
        assert_eq!(
            events(&web.agent, &["--service", "default/web"])?,
            Vec::<Value>::new()
        );
        Ok(())
    });
}

#[test]
fn a_follower_sees_refused_calls_and_failed_connections() {
    sandboxed(|sandbox| {
        let (manifests, deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let mut follower = Follower::start(&agent, &[])?;
        client.enter(|| {
            assert!(connect(to(11)).is_err());
            assert!(connect(to(12)).is_err());
            assert!(connect((cluster_ip(12), PORT + 1)).is_err());
        })?;

        let refused = follower.next("connection.refused")?;
        let fields = &refused["fields"];
        assert_eq!(fields["reason"], "no_backend");
        assert_eq!(
            (&fields["namespace"], &fields["service"], &fields["port"]),
            (&json!("default"), &json!("empty"), &json!("http"))
        );
        assert_eq!(
            (&fields["frontend"], &fields["protocol"]),
            (&json!(to(11).to_string()), &json!("TCP"))
        );
        assert_eq!(fields["pid"], std::process::id());
        assert!(
            fields["command"]
                .as_str()
                .is_some_and(|name| !name.is_empty())
        );
        assert!(fields["network"].as_u64().is_some_and(|cookie| cookie > 0));

        let failed = follower.next("connection.failed")?;
        assert_eq!(failed["fields"]["service"], "deaf");
        assert_eq!(
            failed["fields"]["backend"],
            format!("{}:{TARGET}", deaf.ipv4())
        );
        assert_eq!(failed["fields"]["network"], fields["network"]);

        let unknown = follower.next("connection.refused")?;
        assert_eq!(unknown["fields"]["reason"], "unknown_port");
        assert_eq!(
            unknown["fields"]["frontend"],
            format!("{}:{}", cluster_ip(12), PORT + 1)
        );
        let (fields, none) = (&unknown["fields"], &Value::Null);
        assert_eq!(
            (&fields["namespace"], &fields["service"], &fields["port"]),
            (&json!("default"), &json!("deaf"), none)
        );
        Ok(())
    });
}

#[test]
fn a_client_has_its_network_namespace() {
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let mut follower = Follower::start(&agent, &["--event", "connection."])?;
        let refused = format!(
            "until : <>/dev/tcp/{}/{PORT}; do sleep 0.1; done 2>/dev/null",
            cluster_ip(11)
        );
        let mut process = client.command("bash").args(["-c", &refused]).spawn()?;
        // The first ones may come before the agent has found the name.
        let seen = loop {
            let event = follower.next("connection.refused");
            let is_nameless = |event: &Value| event["fields"]["network_namespace"].is_null();
            if !event.as_ref().is_ok_and(is_nameless) {
                break event;
            }
        };
        process.kill()?;
        process.wait()?;
        let inode = std::fs::metadata(client.namespace().path())?.ino();
        let fields = &seen?["fields"];
        assert_eq!(fields["pid"], process.id());
        assert_eq!(fields["network_namespace"], inode.to_string());
        Ok(())
    });
}

/// The flag limits remembered events only: new ones are always shown.
#[test]
fn a_follower_skips_remembered_events() {
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        // No more of these come while the agent runs.
        let of = |args: &[&'static str]| [&["--event", "hooks.,agent.,connection."], args].concat();
        let all = events(&agent, &of(&[]))?;
        ensure!(all.len() >= 2, "{all:?}");
        let last = &all[all.len() - 1..];
        assert_eq!(events(&agent, &of(&["--tail", "1"]))?, last);
        assert_eq!(
            events(&agent, &of(&["--tail", "-1", "--since", "1h"]))?,
            all
        );
        assert_eq!(events(&agent, &of(&["--tail", "0"]))?, Vec::<Value>::new());

        let mut one = Follower::start(&agent, &of(&["--tail", "1"]))?;
        assert_eq!(one.any()?, last[0]);
        let mut none = Follower::start(&agent, &of(&["--tail", "0"]))?;
        let is_over = AtomicBool::new(false);
        let next = std::thread::scope(|scope| {
            // The programs may not report to the second one yet.
            scope.spawn(|| {
                client.enter(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(connect(to(12)).is_err());
                        std::thread::sleep(Duration::from_millis(20));
                    }
                })
            });
            let next = [none.any(), one.any()];
            is_over.store(true, Ordering::Relaxed);
            next
        });
        for event in next {
            assert_eq!(event?["event"], "connection.failed");
        }
        Ok(())
    });
}

#[test]
fn a_filter_selects_a_service() {
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let mut follower = Follower::start(&agent, &["--service", "default/deaf"])?;
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                client.enter(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(connect(to(11)).is_err() && connect(to(12)).is_err());
                        std::thread::sleep(Duration::from_millis(20));
                    }
                })
            });
            let seen: Result<Vec<Value>> = (0..5).map(|_| follower.any()).collect();
            is_over.store(true, Ordering::Relaxed);
            for event in seen? {
                let service = &event["fields"]["service"];
                assert_eq!(
                    (&event["event"], service),
                    (&json!("connection.failed"), &json!("deaf"))
                );
            }
            Ok(())
        })
    });
}

/// Every refused call is reported, or counted as dropped.
#[test]
fn nothing_is_lost_silently() {
    const CALLS: u64 = 20_000;
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let mut follower = Follower::start(&agent, &[])?;
        client.enter(|| {
            for _ in 0..CALLS {
                assert!(connect(to(11)).is_err());
            }
        })?;
        let (mut seen, mut dropped) = (0, 0);
        while seen + dropped < CALLS {
            let event = follower.any()?;
            match event["event"].as_str() {
                Some("connection.refused") => seen += 1,
                Some("events.dropped") => {
                    dropped += event["fields"]["count"].as_u64().context("a count")?
                }
                _ => {}
            }
        }
        assert_eq!(seen + dropped, CALLS);
        assert!(seen >= 256 && dropped > 0, "{seen} seen, {dropped} dropped");
        Ok(())
    });
}

#[test]
fn the_programs_report_nothing_while_nobody_follows() {
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        client.enter(|| assert!(connect(to(11)).is_err()))?;
        let mut follower = Follower::start(&agent, &[])?;
        client.enter(|| assert!(connect(to(12)).is_err()))?;
        // The first event of a program is the second call's.
        loop {
            let event = follower.any()?;
            if event["event"]
                .as_str()
                .is_some_and(|name| name.starts_with("connection."))
            {
                assert_eq!(event["event"], "connection.failed");
                return Ok(());
            }
        }
    });
}

#[test]
fn events_go_on_with_the_next_agent() {
    sandboxed(|sandbox| {
        let (manifests, _deaf) = troubled(sandbox)?;
        let client = sandbox.pod("client")?;
        let agent = agent(sandbox, &manifests);
        let mut running = agent.start()?;
        let _follower = Follower::start(&agent, &[])?;
        running.kill()?;
        // Nobody reads the ring: the programs go on.
        client.enter(|| {
            for _ in 0..2_000 {
                assert!(connect(to(11)).is_err());
            }
            assert!(connect_name(to(11)).is_err());
        })?;
        let _running = agent.start()?;
        let mut follower = Follower::start(&agent, &[])?;
        client.enter(|| assert!(connect(to(12)).is_err()))?;
        follower.next("connection.failed")?;
        Ok(())
    });
}
