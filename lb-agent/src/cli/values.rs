//! Parsers for the values of flags. Their errors say what to write instead.

use std::time::Duration;

use ipnet::IpNet;

use crate::agent::heartbeat;

/// `5m`, `1h 30m`: at least a second.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "write a number with its unit, like 90s, 5m or 1h".to_owned())?;
    let duration = Duration::try_from(span).unwrap_or_default();
    if duration < Duration::from_secs(1) {
        return Err("at least 1s".to_owned());
    }
    Ok(duration)
}

/// `300ms`: from 50 ms to 1 s.
pub fn syn_timeout(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "write a number with its unit, like 300ms".to_owned())?;
    let duration = Duration::try_from(span).unwrap_or_default();
    match (50..=1_000).contains(&duration.as_millis()) {
        true => Ok(duration),
        false => Err("from 50ms to 1s".to_owned()),
    }
}

/// As [`duration`], or 0.
pub fn idle_time(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// `https://192.0.2.1:6443`.
pub fn api_server(text: &str) -> Result<http::Uri, String> {
    let uri = text.parse::<http::Uri>().ok();
    let is_whole = |uri: &http::Uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()
    };
    uri.filter(is_whole)
        .ok_or_else(|| "write a URL like https://192.0.2.1:6443".to_owned())
}

/// As [`duration`], and long enough for several heartbeats of the agent.
pub fn step_aside(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        after if after < heartbeat::SHORTEST => Err("at least 5s".to_owned()),
        after => Ok(after),
    }
}

/// The network of `10.96.0.0/12`.
pub fn service_cidr(text: &str) -> Result<IpNet, String> {
    let cidr: IpNet = text
        .parse()
        .map_err(|_| "write an address and a prefix length, like 10.96.0.0/12".to_owned())?;
    if cidr.prefix_len() == 0 {
        return Err("that is every address: write the cluster's Service CIDR".to_owned());
    }
    Ok(cidr.trunc())
}

/// One value of `--nodeport-addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node's first address of each family.
    Primary,
    Range(IpNet),
}

/// `primary`, or a range as `10.244.0.0/16`.
pub fn node_port_addresses(text: &str) -> Result<NodePortAddresses, String> {
    match text {
        "primary" => Ok(NodePortAddresses::Primary),
        range => any_cidr(range)
            .map(NodePortAddresses::Range)
            .map_err(|error| format!("{error}, or `primary`")),
    }
}

/// The network of `10.244.0.0/16`.
pub fn cidr(text: &str) -> Result<IpNet, String> {
    match any_cidr(text)? {
        all if all.prefix_len() == 0 => {
            Err("that is every address: write the addresses of the cluster's pods".to_owned())
        }
        cidr => Ok(cidr),
    }
}

/// Like [`cidr`], but `0.0.0.0/0` is allowed.
fn any_cidr(text: &str) -> Result<IpNet, String> {
    let cidr: Option<IpNet> = text.parse().ok();
    let cidr = cidr.map(|cidr| cidr.trunc());
    cidr.ok_or_else(|| "write an address and a prefix length, like 10.244.0.0/16".to_owned())
}

/// `30000-32767`.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (range.0 <= range.1).then_some(range)
    });
    range.ok_or_else(|| "write two ports, the smaller one first, like 30000-32767".to_owned())
}
