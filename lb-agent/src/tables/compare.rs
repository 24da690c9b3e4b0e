//! What the tables contain for one frontend, beside what the policy wants: for people who ask, without repairing anything.
//!
//! It follows the words that the programs read, and trusts none of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use lb_common::SlotRun;
use lb_common::frontend::guard;
use lb_common::view::{BANK_SLOTS, banks, is_own};

use super::backing::{Backing, Copies, Table};
use super::cells::slots_of;
use super::dump;
use super::encode::{self, WeightUnit};
use super::model::{Model, guard_key, load_backend, load_frontend, load_view};
use super::role::Role;
use crate::policy::{Backend, Frontend, FrontendKind, Scope, ServicePort};

/// What the tables contain for a frontend, and how that differs from what the policy wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Its element of FRONTENDS; none: connects to it pass unchanged.
    pub element: Option<ElementFound>,
    /// The view that sockets use, then the one for packets from outside.
    pub views: Vec<ViewFound>,
    pub differences: Vec<Difference>,
}

/// An element of FRONTENDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementFound {
    /// Its id in FRONTEND_LIST.
    pub id: u32,
    /// The index of its view in VIEWS.
    pub view: u32,
    /// The index of the view for packets from outside; none: they use the same.
    pub outside_view: Option<u32>,
}

/// An element of VIEWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewFound {
    pub index: u32,
    /// The number of its slots.
    pub slots: u32,
    /// Sorted by id.
    pub backends: Vec<BackendFound>,
}

/// An element of BACKENDS that slots of a view name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendFound {
    pub id: u32,
    pub address: SocketAddr,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
    pub is_ejected: bool,
    /// The number of the view's slots that name it.
    pub slots: usize,
}

/// A difference between the tables and what the policy wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// FRONTENDS has no element for it.
    NoElement,
    /// Its element of FRONTENDS cannot be used, or names another view than the agent gave it.
    Element,
    /// FILTER or NEAR_FRONTENDS hides it, or has another value.
    Copies,
    /// Its entry of FRONTEND_LIST has another address, kind or view for packets from outside.
    FrontendEntry,
    /// A view has another algorithm, time-out, owner or flag.
    View(Scope),
    /// The run of slots of a view is outside of the tables.
    Slots(Scope),
    /// No slot of a view names a backend.
    BackendMissing(Scope, SocketAddr),
    /// A slot of a view names a backend that is not wanted there.
    BackendUnwanted(Scope, u32),
    /// A backend has other bits in its state.
    BackendState(SocketAddr),
    /// A backend has another weight.
    BackendWeight(SocketAddr),
}

/// `port`: with NodePorts on the node's addresses. Errors: FRONTENDS cannot be read.
pub(super) fn compare(
    backing: &impl Backing,
    model: &Model,
    port: &ServicePort,
    frontend: &Frontend,
) -> io::Result<Comparison> {
    let mut found = Comparison::default();
    let Some(key) = encode::frontend_key(frontend, port.key.protocol) else {
        return Ok(found);
    };
    let Some(value) = backing.frontend(&key)? else {
        found.differences.push(Difference::NoElement);
        return Ok(found);
    };
    let within = |table, index: u32| (1..backing.length(table)).contains(&index);
    let target = value.read(key.tag()).filter(|target| {
        within(Table::Views, target.view) && within(Table::FrontendList, target.frontend)
    });
    let Some(target) = target else {
        found.differences.push(Difference::Element);
        return Ok(found);
    };
    if backing.differing_copies(&key, &value) != Copies::default() {
        found.differences.push(Difference::Copies);
    }
    let entry = load_frontend(backing, target.frontend);
    found.element = Some(ElementFound {
        id: target.frontend,
        view: target.view,
        outside_view: (entry.outside_view != 0).then_some(entry.outside_view),
    });
    let wanted = model.frontends.get(&key);
    let is_same = wanted.is_some_and(|held| held.value(&key) == value)
        && target.is_host_only == frontend.is_host_only()
        && target.has_source_ranges == port.has_source_ranges(frontend);
    if !is_same {
        found.differences.push(Difference::Element);
    }
    let has_outside = port.external_local && frontend.is_reached_from_outside();
    let outside_view = wanted.map_or(0, |held| held.outside_view);
    let expected = encode::frontend_entry(&key, encode::frontend_kind(frontend.kind), outside_view);
    if entry != expected || (outside_view != 0) != has_outside {
        found.differences.push(Difference::FrontendEntry);
    }
    let scope = match frontend.kind {
        FrontendKind::ClusterIp => Scope::Internal,
        _ => Scope::External,
    };
    let owner = wanted.map(|held| held.owner);
    compare_view(backing, owner, port, scope, target.view, &mut found);
    if has_outside && within(Table::Views, entry.outside_view) {
        let view = entry.outside_view;
        compare_view(backing, owner, port, Scope::Outside, view, &mut found);
    }
    Ok(found)
}

fn compare_view(
    backing: &impl Backing,
    owner: Option<u32>,
    port: &ServicePort,
    scope: Scope,
    index: u32,
    found: &mut Comparison,
) {
    let wanted = wanted(port, scope);
    let line = load_view(backing, index);
    let has_line = owner == Some(line.service_port)
        && line.algorithm == encode::algorithm_number(port.algorithm)
        && line.affinity_seconds == port.affinity_seconds.unwrap_or(0)
        && line.flags == encode::view_flags(port, &wanted)
        && members(port, scope).contains(&line.member);
    if !has_line {
        found.differences.push(Difference::View(scope));
    }
    let run = SlotRun::from_word(line.slots);
    let mut view = ViewFound {
        index,
        slots: run.length,
        backends: Vec::new(),
    };
    if is_within(backing, index, run) {
        let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
        slots_of(backing, run).for_each(|id| *shares.entry(id).or_default() += 1);
        for (id, slots) in shares {
            compare_backend(backing, &line, port, (id, slots), scope, &mut view, found);
        }
    } else {
        found.differences.push(Difference::Slots(scope));
    }
    for backend in wanted {
        let mut there = view.backends.iter();
        if !there.any(|of| of.address == backend.address) {
            let missing = Difference::BackendMissing(scope, backend.address);
            found.differences.push(missing);
        }
    }
    found.views.push(view);
}

fn compare_backend(
    backing: &impl Backing,
    view: &lb_common::View,
    port: &ServicePort,
    (id, slots): (u32, usize),
    scope: Scope,
    into: &mut ViewFound,
    found: &mut Comparison,
) {
    let unwanted = Difference::BackendUnwanted(scope, id);
    if !(1..backing.length(Table::Backends)).contains(&id) {
        found.differences.push(unwanted);
        return;
    }
    let line = load_backend(backing, id);
    let address = encode::socket_address(line.address, line.port);
    into.backends.push(BackendFound {
        id,
        address,
        state: line.state,
        is_ejected: line.ejected_until != 0,
        slots,
    });
    let known = wanted(port, scope)
        .into_iter()
        .find(|of| of.address == address && line.service_port == view.service_port);
    let Some(backend) = known else {
        found.differences.push(unwanted);
        return;
    };
    let weight = WeightUnit::of(port).weight(backend);
    let state = encode::backend_state(backend) != line.state;
    let weight = weight != line.more_weight.saturating_add(1);
    let differences = [
        state.then_some(Difference::BackendState(address)),
        weight.then_some(Difference::BackendWeight(address)),
    ];
    for difference in differences.into_iter().flatten() {
        if !found.differences.contains(&difference) {
            found.differences.push(difference);
        }
    }
}

/// The backends that the policy wants in a view.
fn wanted(port: &ServicePort, scope: Scope) -> Vec<&Backend> {
    let is_in = |backend: &&Backend| match scope {
        Scope::All | Scope::Internal => backend.internal,
        Scope::External => backend.external,
        Scope::Outside => backend.outside,
    };
    port.backends.iter().filter(is_in).collect()
}

/// The values that [`lb_common::View::member`] may have: one view serves several kinds of frontends if their backends are equal.
fn members(port: &ServicePort, scope: Scope) -> Vec<u32> {
    let differ = port.backends.iter().any(|b| b.internal != b.external);
    let own = encode::member(Role::of(scope));
    match scope {
        Scope::External if !differ => vec![own, encode::member(Role::Internal)],
        _ => vec![own],
    }
}

/// Whether all cells of a run exist.
fn is_within(backing: &impl Backing, view: u32, run: SlotRun) -> bool {
    if run.length == 0 {
        return true;
    }
    if is_own(run.base) {
        return banks(view).contains(&run.base) && run.length <= BANK_SLOTS;
    }
    let end = run.base.checked_add(run.cells());
    end.is_some_and(|end| end <= backing.length(Table::Slots))
}

impl BackendFound {
    /// The names of its state's bits, and whether it is ejected.
    #[must_use]
    pub fn state_names(&self) -> String {
        let names = dump::state_names(self.state);
        match self.is_ejected {
            true => format!("{names} ejected"),
            false => names,
        }
    }
}

impl Difference {
    /// The difference as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoElement => "NoElement",
            Self::Element => "Element",
            Self::Copies => "Copies",
            Self::FrontendEntry => "FrontendEntry",
            Self::View(_) => "View",
            Self::Slots(_) => "Slots",
            Self::BackendMissing(..) => "BackendMissing",
            Self::BackendUnwanted(..) => "BackendUnwanted",
            Self::BackendState(_) => "BackendState",
            Self::BackendWeight(_) => "BackendWeight",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoElement => f.write_str("FRONTENDS does not contain it"),
            Self::Element => f.write_str("its element of FRONTENDS differs"),
            Self::Copies => f.write_str("FILTER or NEAR_FRONTENDS differs from FRONTENDS"),
            Self::FrontendEntry => f.write_str("its entry of FRONTEND_LIST differs"),
            Self::View(scope) => write!(f, "the line of the {scope} view differs"),
            Self::Slots(scope) => write!(f, "the {scope} view has slots that do not exist"),
            Self::BackendMissing(scope, address) => {
                write!(f, "the {scope} view lacks the backend {address}")
            }
            Self::BackendUnwanted(scope, id) => {
                write!(
                    f,
                    "the {scope} view has the backend {id}, which is not wanted there"
                )
            }
            Self::BackendState(address) => write!(f, "the state of the backend {address} differs"),
            Self::BackendWeight(address) => {
                write!(f, "the weight of the backend {address} differs")
            }
        }
    }
}

/// Whether the ports that an address does not have are refused.
pub(super) fn is_guarded(backing: &impl Backing, address: IpAddr) -> io::Result<bool> {
    let key = guard_key(encode::address(address));
    let found = backing.frontend(&key)?;
    let found = found.and_then(|value| value.read(key.tag()));
    Ok(found.is_some_and(|target| target.frontend == guard::REFUSE))
}
