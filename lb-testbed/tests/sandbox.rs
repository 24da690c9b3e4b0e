//! Tests of the testbed: a sandbox that leaks or has a route out would invalidate every test in it.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lb_testbed::api_server::ApiServer;
use lb_testbed::{
    Deadline, Family, NamedServer, Supervised, ask_udp, connect, connect_name, sandboxed,
};

#[test]
fn pods_reach_each_other_in_both_families() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(3)?;
        let servers = [
            NamedServer::tcp(&pods[0], 80, "zero")?,
            NamedServer::tcp(&pods[1], 80, "one")?,
        ];
        for family in [Family::IPv4, Family::IPv6] {
            for (pod, server) in pods.iter().zip(&servers) {
                let answer = pods[2].enter(|| connect_name((pod.address(family), 80)))??;
                assert_eq!(answer, server.name());
                assert_eq!(
                    connect_name((pod.address(family), 80))?,
                    server.name(),
                    "from the node"
                );
            }
        }
        assert_eq!(servers.map(|server| server.served()), [4, 4]);
        Ok(())
    });
}

#[test]
fn the_sandbox_has_no_route_out() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("client")?;
        for outside in ["10.96.0.1", "192.0.2.1", "fd00:96::1", "2001:db8::1"] {
            let address = SocketAddr::new(outside.parse()?, 80);
            for error in [
                connect(address).err(),
                pod.enter(|| connect(address))?.err(),
            ] {
                let kind = error.map(|error| error.kind());
                assert_eq!(kind, Some(ErrorKind::NetworkUnreachable), "{outside}");
            }
        }
        Ok(())
    });
}

#[test]
fn an_address_outside_the_pods_networks_is_reached_through_a_pod() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(2)?;
        let far: [IpAddr; 2] = ["10.250.0.1".parse()?, "fd00:250::1".parse()?];
        pods[0].add_addresses(far)?;
        let _server = NamedServer::tcp(&pods[0], 80, "far")?;
        let ask = || pods[1].enter(|| far.map(|address| connect_name((address, 80)).ok()));
        assert_eq!(ask()?, [None, None]);
        pods[1].reach_through(&pods[0], far)?;
        assert_eq!(ask()?, ["far", "far"].map(|name| Some(name.to_owned())));
        Ok(())
    });
}

#[test]
fn an_added_address_answers_from_itself() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(2)?;
        let more: [IpAddr; 2] = ["10.244.0.200".parse()?, "fd00:244::200".parse()?];
        pods[0].add_addresses(more)?;
        let _tcp = NamedServer::tcp(&pods[0], 80, "t")?;
        let udp = NamedServer::udp(&pods[0], 53, "u")?;
        for address in more
            .into_iter()
            .chain([Family::IPv4, Family::IPv6].map(|family| pods[0].address(family)))
        {
            assert_eq!(
                pods[1].enter(|| connect_name((address, 80)))??,
                "t",
                "{address}"
            );
            assert_eq!(pods[1].enter(|| ask_udp((address, 53)))??, "u", "{address}");
        }
        assert_eq!(udp.served(), 4);
        Ok(())
    });
}

#[test]
fn a_server_echoes_and_ends() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("server")?;
        let server = NamedServer::tcp(&pod, 0, "s")?;
        let address = (pod.ipv4(), server.port());
        let mut stream = connect(address)?;
        stream.write_all(b"ping")?;
        let mut said = [0; 6];
        stream.read_exact(&mut said)?;
        assert_eq!(&said, b"s\nping");
        drop(server);
        assert_eq!(
            connect(address).map_err(|error| error.kind()).err(),
            Some(ErrorKind::ConnectionRefused)
        );
        Ok(())
    });
}

#[test]
fn every_connect_is_served_and_counted() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(2)?;
        let server = NamedServer::tcp(&pods[0], 80, "s")?;
        pods[1].enter(|| {
            (0..5_000).try_for_each(|_| connect_name((pods[0].ipv4(), 80)).map(drop))
        })??;
        assert_eq!(server.served(), 5_000);
        Ok(())
    });
}

#[test]
fn the_node_has_a_cgroup_and_a_bpffs() {
    sandboxed(|sandbox| {
        let procs = fs::read_to_string(sandbox.cgroup().join("cgroup.procs"))?;
        assert_eq!(procs.trim(), std::process::id().to_string());
        let mounts = fs::read_to_string("/proc/thread-self/mounts")?;
        let bpffs = format!(" {} bpf ", sandbox.bpffs().display());
        assert!(mounts.lines().any(|line| line.contains(&bpffs)), "{mounts}");
        Ok(())
    });
}

#[test]
fn an_api_server_answers_on_the_nodes_loopback() {
    sandboxed(|_| {
        let server = ApiServer::start("127.0.0.1:0")?;
        let mut stream = connect(server.address())?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Ok(())
    });
}

/// Also after a process that was killed and that had left others behind.
#[test]
fn a_sandbox_leaves_nothing_behind() {
    let mut left = None;
    {
        let mut child = start_and_leave_a_child();
        let place = child.config().dir.join("cgroup");
        let deadline = Deadline::within(Duration::from_secs(30));
        while left.is_none() {
            left = fs::read_to_string(&place)
                .ok()
                .filter(|text| text.ends_with('\n'));
            assert!(
                child.try_wait().expect("it can be waited for").is_none(),
                "the child ended early"
            );
            assert!(
                !deadline.is_over(),
                "the child has not entered its sandbox within {deadline}"
            );
        }
        child.wait_within(Duration::ZERO).expect("it can be killed");
    }
    let cgroup = PathBuf::from(left.unwrap_or_default().trim());
    assert!(cgroup.is_absolute(), "{cgroup:?}");
    assert!(!cgroup.exists(), "{cgroup:?} is still there");
}

/// Runs the test below in a process of its own.
fn start_and_leave_a_child() -> Supervised {
    Supervised::start("socklb-test-leaver", false, |config| {
        let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
        command
            .args(["leaves_a_child_behind", "--exact", "--ignored"])
            .env("LEAVER_DIR", &config.dir);
        command
    })
    .expect("it starts")
}

#[test]
#[ignore = "started by a_sandbox_leaves_nothing_behind"]
fn leaves_a_child_behind() {
    let Some(dir) = std::env::var_os("LEAVER_DIR") else {
        return;
    };
    let config = lb_testbed::SandboxConfig {
        prefix: "socklb-test-leaver".to_owned(),
        dir: dir.into(),
    };
    let sandbox = lb_testbed::Sandbox::enter(&config).expect("a sandbox can be made");
    let inner = lb_testbed::Cgroup::at(sandbox.cgroup())
        .child("inner")
        .expect("a cgroup can be made");
    inner.join().expect("it can be joined");
    let mut left = Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("sleep is there");
    let text = format!("{}\n", sandbox.cgroup().display());
    fs::write(sandbox.dir().join("cgroup"), text).expect("the folder is there");
    let _ = left.wait();
}

#[test]
fn threads_and_processes_of_pods_run_on_their_nodes() {
    sandboxed(|sandbox| {
        let nodes = [sandbox.node("node-a")?, sandbox.node("node-b")?];
        for node in &nodes {
            let pod = node.run(sandbox.pod(&format!("on-{}", node.name()))?);
            for place in [&pod, node.host()] {
                let is_there = |cgroup: &str| cgroup.trim_end().ends_with(node.name());
                let thread = place.enter(|| fs::read_to_string("/proc/thread-self/cgroup"))??;
                assert!(is_there(own(&thread)), "{thread}");
                let process = place.command("cat").arg("/proc/self/cgroup").output()?;
                let process = String::from_utf8(process.stdout)?;
                assert!(is_there(own(&process)), "{process}");
                let spawned = place.spawn(|| fs::read_to_string("/proc/thread-self/cgroup"));
                let spawned = spawned.join().expect("it does not panic")??;
                assert!(is_there(own(&spawned)), "{spawned}");
            }
        }
        let outside = fs::read_to_string("/proc/thread-self/cgroup")?;
        assert!(own(&outside).contains("socklb-test-"), "{outside}");
        assert!(!own(&outside).contains("node-"), "{outside}");
        // Neighbours, with addresses of their own.
        let _server = NamedServer::tcp(nodes[1].host(), 80, "b")?;
        let to = (nodes[1].ipv4(), 80);
        assert_eq!(nodes[0].host().enter(|| connect_name(to))??, "b");
        let at_itself = nodes[0].host().enter(|| connect((nodes[0].ipv4(), 80)))?;
        assert!(at_itself.is_err(), "the other node's server answered");
        Ok(())
    });
}

/// The cgroup2 line of a `/proc/…/cgroup`.
fn own(cgroups: &str) -> &str {
    let mut lines = cgroups.lines();
    lines
        .find(|line| line.starts_with("0::"))
        .unwrap_or_default()
}

/// A test that hangs is ended from inside, which knows whether it was given the time, and all that it started with it.
#[test]
fn a_hanging_test_is_ended_with_a_reason() {
    let output = Command::new(std::env::current_exe().expect("a test has a program"))
        .args(["hangs", "--exact", "--ignored"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("has not ended within"), "{said}");
}

#[test]
#[ignore = "started by a_hanging_test_is_ended_with_a_reason"]
fn hangs() {
    lb_testbed::sandboxed_within(Duration::from_secs(1), |_| {
        std::thread::sleep(Duration::from_secs(3_600));
        Ok(())
    });
}
