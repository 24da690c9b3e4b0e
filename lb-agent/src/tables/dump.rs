//! The tables as text: what `lb-agent dump` prints and the golden scripts contain.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::config::{
    CLUSTER_CIDRS, FAIL_OPEN_AT, GUARDED_IPV4, GUARDED_IPV6, HOST_NETNS, MOST_CIDRS,
    NEXT_SERVICE_PORT, PACKET_FLAGS, SERVICE_CIDRS, packet_flag,
};
use lb_common::frontend::{guard, kind};
use lb_common::view::{banks, flag, is_own};
use lb_common::{Address, FrontendKey, config};

use super::backing::{ReadTables, SourcePrefix, Table};
use super::cells::slots_of;
use super::encode;
use super::model::{self, Found, HeldBackend, HeldFrontend, HeldPort, HeldView, Item, Model};
use super::role::Role;
use crate::counted::counted;
use crate::policy::{Algorithm, ServicePortKey};

/// The NAT maps: addresses by backend id.
type Nat = HashMap<u32, SocketAddr>;

/// More slots than these are shown as a number for each backend.
const MOST_SLOTS: u32 = 16;

/// Reads tables and writes them as text, one service port after the other, sorted by id. Stores nothing.
///
/// `names`: of service ports, as far as they are known: the tables do not contain them. Errors: FRONTENDS, ORIGINS or SPILL
/// cannot be read.
pub fn dump<S: std::hash::BuildHasher>(
    backing: &impl ReadTables,
    names: &HashMap<u32, ServicePortKey, S>,
) -> io::Result<String> {
    let found = model::read(backing)?;
    let nat = backing.nat()?.map(|nat| nat.into_iter().collect());
    let mut text = String::new();
    // A String takes everything.
    let _ = write(&mut text, backing, &found, nat.as_ref(), names);
    Ok(text)
}

fn write<S: std::hash::BuildHasher>(
    text: &mut String,
    backing: &impl ReadTables,
    found: &Found,
    nat: Option<&Nat>,
    names: &HashMap<u32, ServicePortKey, S>,
) -> fmt::Result {
    let ports: BTreeMap<u32, &HeldPort> =
        found.model.ports.iter().map(|(id, p)| (*id, p)).collect();
    for (id, port) in ports {
        write!(text, "service port {id}")?;
        if let Some(name) = names.get(&id) {
            write!(text, "  {name}")?;
        }
        writeln!(text)?;
        write_port(text, backing, &found.model, nat, port)?;
    }
    write_guards(text, &found.model)?;
    write_config(text, &found.model)?;
    for item in &found.model.quarantine.named {
        match item {
            Item::Backend(id) => {
                let active = super::entries::active(backing, *id);
                writeln!(text, "quarantined  backend {id}, {active} active")?;
            }
            Item::Frontend(id) => writeln!(text, "quarantined  frontend {id}")?,
            Item::Run { .. } | Item::View(_) => {}
        }
    }
    for key in &found.strays {
        writeln!(text, "stray  {} in FRONTENDS", Key(key))?;
    }
    for id in &found.unowned {
        writeln!(
            text,
            "stray  backend {id}: it has a state and no service port"
        )?;
    }
    Ok(())
}

fn write_port(
    text: &mut String,
    backing: &impl ReadTables,
    model: &Model,
    nat: Option<&Nat>,
    port: &HeldPort,
) -> fmt::Result {
    let mut frontends: Vec<(FrontendKey, HeldFrontend)> = port
        .frontends
        .iter()
        .filter_map(|key| Some((*key, *model.frontends.get(key)?)))
        .collect();
    frontends.sort_by_key(|(_, held)| held.id);
    for (key, held) in frontends {
        let HeldFrontend { id, view, .. } = held;
        let host_only = if held.is_host_only { ", host only" } else { "" };
        let kind = kind_name(held.kind);
        let ranges = if held.has_source_ranges {
            ", source ranges"
        } else {
            ""
        };
        let key = Key(&key);
        write!(
            text,
            "  frontend {id}  {key}  {kind}{host_only}{ranges}, view {view}"
        )?;
        if held.outside_view != 0 {
            write!(text, ", outside {}", held.outside_view)?;
        }
        writeln!(text)?;
    }
    for SourcePrefix { bits, key } in &port.source_ranges {
        let [_, network @ ..] = *key;
        let network = encode::socket_address(network, 0).ip();
        let before = lb_common::source_range::prefix_length(encode::address(network), 0);
        let length = bits.saturating_sub(before);
        writeln!(text, "  source range {network}/{length}")?;
    }
    let mut views = port.views.clone();
    views.sort_by_key(|view| view.index);
    for view in views {
        write_view(text, backing, &view)?;
    }
    for HeldBackend {
        address,
        id,
        state,
        weight,
    } in &port.backends
    {
        let bits = state_names(*state);
        write!(text, "  backend {id}  {address}  {bits}")?;
        if *weight != 1 {
            write!(text, ", weight {weight}")?;
        }
        let word = lb_common::Backend::CONNECTIONS_WORD;
        let connections = backing.load(Table::Backends, *id, word);
        let active = super::entries::active(backing, *id);
        if (connections, active) != (0, 0) {
            let connections = counted(connections, "connection");
            write!(text, ", {connections}, {active} active")?;
        }
        match nat.map(|nat| nat.get(id)) {
            None => {}
            Some(Some(to)) if to == address => write!(text, ", NAT")?,
            Some(None) => write!(text, ", no NAT")?,
            Some(Some(other)) => write!(text, ", NAT to {other}?")?,
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_view(text: &mut String, backing: &impl ReadTables, view: &HeldView) -> fmt::Result {
    let role = match view.role {
        Role::Internal => "internal",
        Role::External => "external",
        Role::Outside => "outside",
    };
    let algorithm = algorithm_name(view.algorithm);
    write!(text, "  view {}  {role}, {algorithm}", view.index)?;
    if view.affinity_seconds > 0 {
        write!(text, ", affinity {} s", view.affinity_seconds)?;
    }
    if view.flags & flag::ENDPOINTS_ELSEWHERE != 0 {
        write!(text, ", endpoints elsewhere")?;
    }
    let run = view.run;
    if run.length == 0 {
        return writeln!(text, ", no slots");
    }
    if is_own(run.base) {
        let bank = banks(view.index).iter().position(|bank| *bank == run.base);
        write!(text, ", bank {}:", bank.unwrap_or_default())?;
    } else {
        let end = run.base.saturating_add(run.cells());
        write!(text, ", cells {}..{end}:", run.base)?;
    }
    if run.length <= MOST_SLOTS {
        for id in slots_of(backing, run) {
            write!(text, " {id}")?;
        }
        return writeln!(text);
    }
    let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
    slots_of(backing, run).for_each(|id| *shares.entry(id).or_default() += 1);
    for (id, share) in shares {
        write!(text, " {id}x{share}")?;
    }
    writeln!(text, ", fingerprint {:016x}", view.fingerprint)
}

fn write_guards(text: &mut String, model: &Model) -> fmt::Result {
    let guards = model.guards.in_place.iter();
    let guards: BTreeMap<_, _> = guards
        .map(|(address, verdict)| (encode::socket_address(*address, 0).ip(), *verdict))
        .collect();
    for (address, verdict) in guards {
        match verdict {
            guard::REFUSE => writeln!(text, "guard  {address}  refuse")?,
            guard::PASS => writeln!(text, "guard  {address}  pass")?,
            other => writeln!(text, "guard  {address}  {other}?")?,
        }
    }
    Ok(())
}

fn write_config(text: &mut String, model: &Model) -> fmt::Result {
    let word = |word: u32| model.config.get(word as usize).copied().unwrap_or_default();
    writeln!(
        text,
        "config  next service port {}",
        word(NEXT_SERVICE_PORT)
    )?;
    let named = [
        (HOST_NETNS, "host network namespace"),
        (FAIL_OPEN_AT, "fail open at"),
    ];
    for (index, name) in named {
        if word(index) != 0 {
            writeln!(text, "config  {name} {}", word(index))?;
        }
    }
    let [mask, value] = [word(GUARDED_IPV4) >> 32, word(GUARDED_IPV4)].map(low_half);
    if let Some(prefix) = ipv4_prefix(mask, value) {
        writeln!(text, "config  guarded {prefix}")?;
    }
    if let Some(prefix) = ipv6_prefix([word(GUARDED_IPV6), 0], [word(GUARDED_IPV6 + 1), 0]) {
        writeln!(text, "config  guarded {prefix}")?;
    }
    for (list, name) in [
        (SERVICE_CIDRS, "Service CIDR"),
        (CLUSTER_CIDRS, "cluster CIDR"),
    ] {
        for number in 0..MOST_CIDRS.min(low_half(word(list))) {
            let first = config::cidr(list, number);
            let words = [0, 1, 2, 3].map(|at| word(first + at));
            match cidr(words) {
                Some(cidr) => writeln!(text, "config  {name} {cidr}")?,
                None => writeln!(text, "config  {name} {words:016x?}?")?,
            }
        }
    }
    if word(PACKET_FLAGS) & packet_flag::MASQUERADE_ALL != 0 {
        writeln!(text, "config  masquerade all")?;
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn low_half(word: u64) -> u32 {
    word as u32
}

/// `mask` and `value`: in network byte order. None: nothing is guarded.
fn ipv4_prefix(mask: u32, value: u32) -> Option<IpNet> {
    if mask == 0 && value != 0 {
        return None;
    }
    let length = u8::try_from(u32::from_be(mask).leading_ones()).ok()?;
    Some(
        Ipv4Net::new(u32::from_be(value).into(), length)
            .ok()?
            .into(),
    )
}

/// Words as [`lb_common::config::first_half`] has them. None: nothing is guarded.
fn ipv6_prefix(mask: [u64; 2], value: [u64; 2]) -> Option<IpNet> {
    let [mask, value] = [mask, value].map(|words| {
        let [first, last] = words.map(model::in_order);
        u128::from(first) << 64 | u128::from(last)
    });
    if mask == 0 && value != 0 {
        return None;
    }
    let length = u8::try_from(mask.leading_ones()).ok()?;
    Some(Ipv6Net::new(value.into(), length).ok()?.into())
}

/// `words`: the mask and the network, each as two halves.
fn cidr([mask_first, mask_last, first, last]: [u64; 4]) -> Option<IpNet> {
    let net = ipv6_prefix([mask_first, mask_last], [first, last])?;
    let IpNet::V6(net) = net else { return None };
    match net.addr().to_ipv4_mapped() {
        Some(address) if net.prefix_len() >= 96 => {
            Some(Ipv4Net::new(address, net.prefix_len() - 96).ok()?.into())
        }
        _ => Some(net.into()),
    }
}

/// A frontend's key as `address:port/protocol`.
struct Key<'a>(&'a FrontendKey);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FrontendKey { address, port, .. } = *self.0;
        let address: Address = address;
        let protocol = match self.0.protocol {
            lb_common::TCP => "TCP".to_owned(),
            lb_common::UDP => "UDP".to_owned(),
            other => format!("{other}?"),
        };
        write!(f, "{}/{protocol}", encode::socket_address(address, port))
    }
}

fn kind_name(of: u8) -> String {
    match of {
        kind::CLUSTER_IP => "ClusterIP".to_owned(),
        kind::NODE_PORT => "NodePort".to_owned(),
        kind::EXTERNAL_IP => "external IP".to_owned(),
        kind::LOAD_BALANCER => "LoadBalancer IP".to_owned(),
        other => format!("kind {other}?"),
    }
}

fn algorithm_name(of: u32) -> String {
    let mut names = Algorithm::NAMES.into_iter();
    let name = names.find(|(_, algorithm)| encode::algorithm_number(*algorithm) == of);
    name.map_or_else(|| format!("algorithm {of}?"), |(name, _)| name.to_owned())
}

pub(super) fn state_names(state: u64) -> String {
    use lb_common::backend::state::{EXTERNAL, INTERNAL, OUTSIDE, SERVING, WATCHED};
    let names = [
        (INTERNAL, "internal"),
        (EXTERNAL, "external"),
        (OUTSIDE, "outside"),
        (SERVING, "serving"),
        (WATCHED, "watched"),
    ];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|(bit, _)| state & bit != 0)
        .map(|(_, name)| name)
        .collect();
    match names.is_empty() {
        true => "stopped".to_owned(),
        false => names.join(" "),
    }
}
