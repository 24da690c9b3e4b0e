//! A service mesh: a sidecar to which rules in the pod redirect its connects, as those of Istio and Linkerd do. It learns the
//! destination from conntrack, so it must be the ClusterIP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use lb_testbed::{Pod, connect, sandboxed};
use nix::sys::socket::{getsockopt, sockopt};
use serde_json::json;

use super::scene::{Driver, KubePod, Scene};
use crate::support::Web;

/// Istio's, for connects that leave the pod.
const SIDECAR: u16 = 15_001;

/// The shape of istio-init's and proxy-init's rules: REDIRECT in the chain OUTPUT of the table nat.
fn redirect(pod: &Pod) -> Result<()> {
    pod.namespace().nft(&format!(
        "table ip nat {{
            chain output {{
                type nat hook output priority -100;
                ip daddr 127.0.0.0/8 return
                meta l4proto tcp redirect to :{SIDECAR}
            }}
        }}"
    ))?;
    // As in a real pod. Nothing answers there.
    pod.namespace().ip("route add default via 10.244.0.1\n")
}

/// The destination that a sidecar gets of a connect of its pod to the Service.
fn original_destination(pod: &Pod) -> Result<SocketAddr> {
    pod.enter(|| {
        let sidecar = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SIDECAR))?;
        let _client = connect(Web::ADDRESS)?;
        let (inbound, _) = sidecar.accept()?;
        destination(&inbound)
    })?
}

/// SO_ORIGINAL_DST.
fn destination(inbound: &impl AsFd) -> Result<SocketAddr> {
    let address = getsockopt(inbound, sockopt::OriginalDst).context("conntrack knows it")?;
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    Ok((ip, u16::from_be(address.sin_port)).into())
}

#[test]
fn the_sidecar_of_a_pod_that_is_left_out_sees_the_cluster_ip() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let meshed = KubePod::start(sandbox, "meshed", 1, Driver::Systemd)?;
        let served = KubePod::start(sandbox, "served", 2, Driver::Systemd)?;
        scene.write_pods([
            meshed.object(json!({"security.istio.io/tlsMode": "istio"}), json!({})),
            served.object(json!({}), json!({})),
        ])?;
        let flag = "--except-pods=security.istio.io/tlsMode=istio";
        let _running = scene.agent.clone().arg(flag).start()?;
        scene.wait_for(1, 1, 0)?;
        for pod in [&meshed.pod, &served.pod] {
            redirect(pod)?;
        }
        assert_eq!(original_destination(&meshed.pod)?, Web::ADDRESS);
        // The reason for the flag.
        let backend: IpAddr = scene.servers.ipv4()[0];
        let seen = original_destination(&served.pod)?;
        assert_eq!(seen, SocketAddr::new(backend, crate::support::TARGET));
        Ok(())
    });
}
