//! The addresses of a Service, and the clients that its LoadBalancer IPs let in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{address, family_of, ip, list, text};
use crate::policy::tests::Settings;

/// All addresses of a Service in a family, without duplicates.
pub fn addresses(settings: Settings, service: &Value, family: &str) -> Vec<(&'static str, IpAddr)> {
    let Some(vip) = vip(service, family) else {
        return Vec::new();
    };
    let mut all = vec![("ClusterIP", vip)];
    let external = match settings.refuses_external_ips {
        true => &[],
        false => list(&service["spec"]["externalIPs"]),
    };
    for text in external {
        all.extend(ip(text, family).map(|ip| ("ExternalIP", ip)));
    }
    for ingress in list(&service["status"]["loadBalancer"]["ingress"]) {
        let is_vip = ingress["ipMode"].is_null() || ingress["ipMode"] == "VIP";
        // A socket's source is not known when its backend is chosen.
        let is_open = source_ranges(service, family).is_empty();
        if is_vip && (settings.has_packet_path || is_open) {
            all.extend(ip(&ingress["ip"], family).map(|ip| ("LoadBalancer", ip)));
        }
    }
    all
}

/// The ClusterIP of a family: the one at the family's position in `ipFamilies` or, without that field, the first of that
/// family.
pub fn vip(service: &Value, family: &str) -> Option<IpAddr> {
    let spec = &service["spec"];
    let one = [spec["clusterIP"].clone()];
    let ips = match list(&spec["clusterIPs"]) {
        [] => &one,
        ips => ips,
    };
    let said = |index: usize| &spec["ipFamilies"][index];
    let is_meant = |index: usize| said(index).is_null() || said(index) == family;
    let mut meant = ips.iter().enumerate().filter(|(i, _)| is_meant(*i));
    meant.find_map(|(_, text)| ip(text, family))
}

/// The source ranges that restrict the clients of the Service's LoadBalancer IPs of the family.
pub fn source_ranges(service: &Value, family: &str) -> Vec<String> {
    let ranges = list(&service["spec"]["loadBalancerSourceRanges"]).iter();
    let ranges = ranges.filter_map(|range| {
        let (ip, length) = text(range).trim().split_once('/')?;
        IpNet::new(address(ip)?, length.parse().ok()?).ok()
    });
    let of_family: BTreeSet<IpNet> = ranges
        .filter(|range| family_of(range.addr()) == family)
        .map(|range| range.trunc())
        .collect();
    if of_family.iter().any(|range| range.prefix_len() == 0) {
        return Vec::new();
    }
    of_family.iter().map(ToString::to_string).collect()
}
