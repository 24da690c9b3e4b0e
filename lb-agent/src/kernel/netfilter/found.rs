//! What the kernel has: our table with its chains, rules and maps.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;

use netlink_bindings::nftables::{
    ExprOps, IterableChainAttrs, IterableRuleAttrs, IterableSetAttrs, IterableSetelemListAttrs,
    Request,
};
use netlink_bindings::utils::ErrorContext;

use super::batch::{comment, inet};
use super::element::{Family, address_of, id_of};
use super::expression::Expression;
use super::map_shape::MapShape;
use super::names::TABLE;
use super::socket::Netlink;

/// A table of our name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    pub flags: u32,
    /// It has our comment.
    pub is_marked: bool,
    /// The netlink port of the only program that may change it (NFT_TABLE_F_OWNER).
    pub owner: Option<u32>,
    pub chains: Vec<FoundChain>,
    pub maps: Vec<FoundMap>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundChain {
    pub name: CString,
    pub shape: Option<ChainShape>,
    pub rules: Vec<FoundRule>,
}

/// The shape of a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainShape {
    pub kind: CString,
    pub hook: u32,
    pub priority: i32,
    /// NF_ACCEPT or NF_DROP.
    pub policy: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRule {
    /// None if one of them is not of ours.
    pub expressions: Option<Vec<Expression>>,
    /// What its last counter says.
    pub packets: u64,
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMap {
    pub name: CString,
    pub flags: u32,
    pub key_length: u32,
    pub data_type: u32,
    pub data_length: u32,
    pub size: u32,
}

/// Counts every change of any table in the network namespace.
pub fn generation(netlink: &mut Netlink) -> io::Result<u32> {
    let mut generation = None;
    netlink.ask(&Request::new().op_getgen_do(&inet()), |(_, answer)| {
        generation = answer.get_id().ok();
    })?;
    generation.ok_or_else(|| io::Error::other("the answer has no generation"))
}

/// The table of our name, if there is one.
///
/// # Errors
/// EINTR: another program changed the tables meanwhile.
pub fn table(netlink: &mut Netlink) -> io::Result<Option<FoundTable>> {
    let mut request = Request::new().op_gettable_do(&inet());
    request.encode().push_name(TABLE);
    let mut table = None;
    let asked = netlink.ask(&request, |(_, found)| {
        table = Some(FoundTable {
            flags: found.get_flags().unwrap_or_default(),
            is_marked: found.get_userdata().is_ok_and(|data| data == comment()),
            owner: found.get_owner().ok(),
            chains: Vec::new(),
            maps: Vec::new(),
        });
    });
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        asked => asked?,
    }
    if let Some(table) = &mut table {
        table.chains = chains(netlink)?;
        table.maps = maps(netlink)?;
    }
    Ok(table)
}

/// The chains of our table, with their rules.
pub fn chains(netlink: &mut Netlink) -> io::Result<Vec<FoundChain>> {
    let mut chains = Vec::new();
    // The kernel lists the chains of all tables of the family.
    netlink.ask(&Request::new().op_getchain_dump(&inet()), |(_, found)| {
        chains.extend(chain(&found));
    })?;
    let mut request = Request::new().op_getrule_dump(&inet());
    request.encode().push_table(TABLE);
    netlink.ask(&request, |(_, found)| {
        let Ok(name) = found.get_chain() else { return };
        let chain = chains
            .iter_mut()
            .find(|chain: &&mut FoundChain| chain.name.as_c_str() == name);
        if found.get_table() == Ok(TABLE)
            && let Some(chain) = chain
        {
            chain.rules.push(rule(&found));
        }
    })?;
    Ok(chains)
}

fn maps(netlink: &mut Netlink) -> io::Result<Vec<FoundMap>> {
    let mut maps = Vec::new();
    let mut request = Request::new().op_getset_dump(&inet());
    request.encode().push_table(TABLE);
    netlink.ask(&request, |(_, found)| maps.extend(map(&found)))?;
    Ok(maps)
}

/// Calls `see` with the elements of a map. Elements that are not of ours are left out.
pub fn elements(
    netlink: &mut Netlink,
    family: Family,
    mut see: impl FnMut(u32, SocketAddr),
) -> io::Result<()> {
    let mut request = Request::new().op_getsetelem_dump(&inet());
    request
        .encode()
        .push_table(TABLE)
        .push_set(MapShape::of(family, 0).name);
    netlink.ask(&request, |(_, list)| {
        for (id, address) in elements_of(&list) {
            see(id, address);
        }
    })
}

/// A dump that mixes two states.
pub fn is_interrupted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINTR)
}

fn elements_of(list: &IterableSetelemListAttrs<'_>) -> impl Iterator<Item = (u32, SocketAddr)> {
    let elements = list.get_elements().into_iter();
    elements
        .flat_map(|elements| elements.get_elem())
        .filter_map(|element| {
            let id = id_of(element.get_key().ok()?.get_value().ok()?)?;
            let address = address_of(element.get_data().ok()?.get_value().ok()?)?;
            Some((id, address))
        })
}

fn chain(found: &IterableChainAttrs<'_>) -> Option<FoundChain> {
    if found.get_table() != Ok(TABLE) {
        return None;
    }
    Some(FoundChain {
        name: found.get_name().ok()?.to_owned(),
        shape: shape(found).ok(),
        rules: Vec::new(),
    })
}

fn shape(found: &IterableChainAttrs<'_>) -> Result<ChainShape, ErrorContext> {
    let hook = found.get_hook()?;
    Ok(ChainShape {
        kind: found.get_type()?.to_owned(),
        hook: hook.get_num()?,
        priority: hook.get_priority()?,
        policy: found.get_policy()?,
    })
}

fn rule(found: &IterableRuleAttrs<'_>) -> FoundRule {
    let Ok(list) = found.get_expressions() else {
        return FoundRule {
            expressions: Some(Vec::new()),
            packets: 0,
        };
    };
    let counters = list
        .get_elem()
        .filter_map(|element| match element.get_data() {
            Ok(ExprOps::Counter(counter)) => counter.get_packets().ok(),
            _ => None,
        });
    FoundRule {
        expressions: Expression::list(&list),
        packets: counters.last().unwrap_or_default(),
    }
}

fn map(found: &IterableSetAttrs<'_>) -> Option<FoundMap> {
    if found.get_table() != Ok(TABLE) {
        return None;
    }
    let size = found.get_desc().and_then(|desc| desc.get_size());
    Some(FoundMap {
        name: found.get_name().ok()?.to_owned(),
        flags: found.get_flags().unwrap_or_default(),
        key_length: found.get_key_len().unwrap_or_default(),
        data_type: found.get_data_type().unwrap_or_default(),
        data_length: found.get_data_len().unwrap_or_default(),
        size: size.unwrap_or_default(),
    })
}
