//! Which processes are balanced: cgroups, mount points, and other programs on the same hooks.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Cgroup, Sandbox, connect, connect_name, sandboxed};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};

use crate::foreign::{self, Verdict};
use crate::support::{
    PORT, Servers, TARGET, Web, active, agent, cluster_ip, unload, write_service,
};

const TO: SocketAddr = Web::ADDRESS;

/// A Service with one pod, and an agent on the sandbox's cgroup `served`.
fn serve(sandbox: &Sandbox) -> Result<(Servers, Cgroup, AgentProcess)> {
    let servers = Servers::start(sandbox, 1)?;
    let manifests = sandbox.manifests()?;
    write_service(&manifests, "web", TO.ip(), &servers.ipv4())?;
    let served = Cgroup::at(sandbox.cgroup()).child("served")?;
    let binary = env!("CARGO_BIN_EXE_lb-agent");
    let agent = Agent::on_cgroup(binary, sandbox, manifests.folder(), served.path());
    let running = agent.start()?;
    Ok((servers, served, running))
}

fn tcp_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

/// The error number of a connect, if it fails.
fn error_of(connect: io::Result<()>) -> Option<i32> {
    connect.err().and_then(|error| error.raw_os_error())
}

#[test]
fn only_processes_below_the_cgroup_are_balanced() {
    sandboxed(|sandbox| {
        let (servers, served, agent) = serve(sandbox)?;
        ensure!(agent.log().has("cgroup.not_root"));
        let node = sandbox.namespace();
        let connect = || node.enter(|| connect_name(TO));
        let untouched = connect()?.err().and_then(|error| error.raw_os_error());
        assert_eq!(untouched, Some(libc::ENETUNREACH));
        served.join()?;
        let name = servers.pods[0].name();
        assert_eq!(connect()??, name);
        // Containers in containers.
        let pod = served.child("pod")?;
        let container = pod.child("container")?;
        container.join()?;
        assert_eq!(connect()??, name);
        let direct = SocketAddr::from((servers.pods[0].ipv4(), TARGET));
        assert_eq!(node.enter(|| connect_name(direct))??, name);
        Cgroup::at(sandbox.cgroup()).join()
    });
}

/// A socket belongs to the cgroup in which its process was when it created it (`cgroup_sk_alloc` in kernel/cgroup/cgroup.c).
#[test]
fn a_socket_stays_in_the_cgroup_of_its_creation() {
    sandboxed(|sandbox| {
        let (_servers, served, _agent) = serve(sandbox)?;
        let home = Cgroup::at(sandbox.cgroup());
        let connect = |socket: &Socket| error_of(socket.connect(&TO.into()));

        let outside = tcp_socket()?;
        served.join()?;
        let inside = tcp_socket()?;
        assert_eq!(connect(&outside), Some(libc::ENETUNREACH));
        home.join()?;
        assert_eq!(connect(&inside), None);
        assert_eq!(inside.peer_addr()?.as_socket(), Some(TO));
        assert_eq!(connect(&tcp_socket()?), Some(libc::ENETUNREACH));
        Ok(())
    });
}

/// Mounts cgroup2 as a container sees it, with the sandbox's own cgroup as the root, and starts an agent that searches for the
/// hierarchy.
fn the_hierarchy_is_found_at(sandbox: &Sandbox, place: &str) -> Result<()> {
    let servers = Servers::start(sandbox, 1)?;
    let manifests = sandbox.manifests()?;
    write_service(&manifests, "web", TO.ip(), &servers.ipv4())?;
    let agent =
        Agent::on_default_cgroup(env!("CARGO_BIN_EXE_lb-agent"), sandbox, manifests.folder());
    let machines = mounted()?;
    let no_data = None::<&str>;
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot make a cgroup namespace")?;
    for machines in &machines {
        umount2(machines.as_str(), MntFlags::MNT_DETACH)?;
    }
    let tmpfs = Some("tmpfs");
    mount(tmpfs, "/sys/fs/cgroup", tmpfs, MsFlags::empty(), no_data)?;
    fs::create_dir_all(place)?;
    let cgroup2 = Some("cgroup2");
    mount(cgroup2, place, cgroup2, MsFlags::empty(), no_data)?;
    // From here on no other cgroup is reachable.
    ensure!(mounted()? == [place] && fs::metadata(place)?.ino() != 1);
    let processes = fs::read_to_string(Path::new(place).join("cgroup.procs"))?;
    let own = std::process::id().to_string();
    ensure!(processes.lines().any(|pid| pid == own), "{processes}");

    let running = agent.start()?;
    let log = running.log();
    let mut attached = log.events("hooks.attached");
    ensure!(attached.all(|hooks| hooks["cgroup"] == place), "{log}");
    ensure!(
        log.has("hooks.attached") && log.has("cgroup.not_of_host"),
        "{log}"
    );
    let name = sandbox.namespace().enter(|| connect_name(TO))??;
    assert_eq!(name, servers.pods[0].name());
    Ok(())
}

/// The mount points of cgroup2.
fn mounted() -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let places = mounts.filter_map(|line| line.split(' ').nth(4));
    Ok(places.map(str::to_owned).collect())
}

#[test]
fn a_sole_cgroup2_hierarchy_is_found() {
    sandboxed(|sandbox| the_hierarchy_is_found_at(sandbox, "/sys/fs/cgroup"));
}

#[test]
fn a_cgroup2_hierarchy_is_found_beside_cgroup_v1() {
    sandboxed(|sandbox| the_hierarchy_is_found_at(sandbox, "/sys/fs/cgroup/unified"));
}

/// As an egress policy does.
#[test]
fn a_program_that_refuses_takes_effect_before_and_after_ours() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        for is_before in [false, true] {
            if is_before {
                // A program that is attached again runs last.
                web.running.terminate()?;
                unload(&web.agent)?;
            }
            let foreign = foreign::attach(sandbox.cgroup(), &Verdict::Refuse)?;
            if is_before {
                web.running = web.agent.start()?;
            }
            let to_connect = || web.client.enter(|| connect(TO).map(drop));
            assert_eq!(error_of(to_connect()?), Some(libc::EPERM));
            assert_eq!(active(&web.agent)?, 0);
            foreign.detach()?;
            assert_eq!(error_of(to_connect()?), None);
        }
        Ok(())
    });
}

/// As another load balancer does.
#[test]
fn a_program_that_rewrites_takes_effect_before_and_after_ours() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 1)?;
        let pods = &web.servers.pods;
        let peer = |to: SocketAddr| -> Result<_> {
            let stream = web.client.enter(|| connect(to))??;
            let peer = stream.peer_addr()?;
            assert_eq!(active(&web.agent)?, 1, "while it is open");
            Ok(peer)
        };
        // After ours: the other program decides, and the peer is the real destination.
        let other = SocketAddr::from((pods[1].ipv4(), TARGET));
        let foreign = foreign::attach(sandbox.cgroup(), &Verdict::GoTo(other))?;
        assert_eq!(peer(TO)?, other);
        foreign.detach()?;
        assert_eq!(peer(TO)?, TO);
        assert_eq!(active(&web.agent)?, 0);

        // Before ours: our program sees the address that the other one wrote.
        web.running.terminate()?;
        unload(&web.agent)?;
        let foreign = foreign::attach(sandbox.cgroup(), &Verdict::GoTo(TO))?;
        web.running = web.agent.start()?;
        let anywhere = SocketAddr::from(([192, 0, 2, 1], PORT));
        let stream = web.client.enter(|| connect(anywhere))??;
        assert_eq!(stream.peer_addr()?, TO);
        assert_eq!(active(&web.agent)?, 1);
        drop(stream);
        assert_eq!(active(&web.agent)?, 0);
        foreign.detach()
    });
}

/// Attached by a link: neither program prevents the other from being attached.
#[test]
fn a_program_attached_by_a_link_coexists_with_ours() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let to_connect = |web: &Web| web.client.enter(|| connect(TO).map(drop));
        let link = foreign::link(sandbox.cgroup(), &Verdict::Refuse)?;
        assert_eq!(error_of(to_connect(&web)?), Some(libc::EPERM));
        // The next agent replaces the programs of the existing links.
        web.running.terminate()?;
        web.running = web.agent.start()?;
        assert_eq!(error_of(to_connect(&web)?), Some(libc::EPERM));
        drop(link);
        assert_eq!(error_of(to_connect(&web)?), None);
        Ok(())
    });
}

/// Programs of a child cgroup run before ours, and ours still run, even if the other program is attached as exclusive.
#[test]
fn a_program_on_a_child_cgroup_runs_before_ours() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let home = Cgroup::at(sandbox.cgroup());
        let below = home.child("below")?;
        let anywhere = SocketAddr::from(([192, 0, 2, 1], PORT));
        let verdict = Verdict::GoTo(TO);
        for attach in [foreign::attach, foreign::attach_exclusively] {
            let foreign = attach(below.path(), &verdict)?;
            below.join()?;
            let stream = web.client.enter(|| connect(anywhere))??;
            // The address that the other program wrote counts as the requested one.
            assert_eq!(stream.peer_addr()?, TO);
            assert_eq!(active(&web.agent)?, 1);
            drop(stream);
            home.join()?;
            foreign.detach()?;
        }
        Ok(())
    });
}

#[test]
fn a_cgroup_with_an_exclusive_program_is_reported() {
    sandboxed(|sandbox| {
        let foreign = foreign::attach_exclusively(sandbox.cgroup(), &Verdict::Refuse)?;
        let agent = agent(sandbox, &sandbox.manifests()?);
        let mut running = agent.spawn()?;
        ensure!(!running.wait()?.success(), "{}", running.log());
        let log = running.log();
        let cgroup = sandbox.cgroup().display();
        for part in [
            "connect4",
            &format!("bpftool cgroup tree {cgroup}"),
            "BPF_F_ALLOW_MULTI",
        ] {
            ensure!(log.failure().contains(part), "{part} is not in:\n{log}");
        }
        foreign.detach()?;
        agent.start()?.terminate()?;
        Ok(())
    });
}

/// Two agents with different Services, as while one product replaces another.
#[test]
fn two_agents_share_a_cgroup() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 1)?;
        let manifests = lb_testbed::Manifests::in_folder(sandbox.dir().join("others"))?;
        let pods = &web.servers.pods;
        write_service(
            &manifests,
            "other",
            cluster_ip(20),
            &[pods[1].ipv4().into()],
        )?;
        let _other = agent(sandbox, &manifests).beside("other").start()?;
        let others = SocketAddr::from((cluster_ip(20), PORT));
        for (to, pod) in [(TO, &pods[0]), (others, &pods[1])] {
            assert_eq!(web.client.enter(|| connect_name(to))??, pod.name());
            assert_eq!(web.client.enter(|| connect(to)?.peer_addr())??, to);
        }
        Ok(())
    });
}
