//! The rules. They never depend on Services.
//!
//! Most packets have no verdict, or belong to a connection that has been translated: they pass one or two expressions of each
//! chain. `lo` is left out: a process there may have set a priority of its own.

use std::ffi::CStr;

use lb_common::verdict::{CHOICE, DROP, MASQUERADE, OURS, OUT_OF_RANGE, REJECT};

use super::expression::Expression::{
    self, Accept, Count, DnatIpv4, DnatIpv6, Drop, Is, IsNot, Load, LoadConnectionState, LookUp,
    Mask, Masquerade, RejectWithReset, RejectWithUnreachable, Set, Store,
};
use super::expression::Meta::{Family, InputDevice, Mark, Priority, Protocol};
use super::expression::Value::{Byte, Word};
use super::names::{BACKENDS4, BACKENDS6};

/// The masquerade bit of kube-proxy (`--iptables-masquerade-bit` 14).
pub const MASQUERADE_MARK: u32 = 1 << 14;

/// The bits that tell verdicts apart.
const KIND: u32 = OURS | OUT_OF_RANGE;

/// LOOPBACK_IFINDEX: `lo` has it in every network namespace.
const LO: u32 = 1;

/// NFPROTO_IPV4, NFPROTO_IPV6.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// State bits of conntrack (`NF_CT_STATE_BIT` in net/netfilter/nf_conntrack_tuple.h); a packet has exactly one.
const INVALID: u32 = 1;
const NEW: u32 = 1 << 3;

/// NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING.
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;

/// NF_IP_PRI_NAT_DST, NF_IP_PRI_FILTER, NF_IP_PRI_NAT_SRC.
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

/// What the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// The most elements that each map may have: the length of BACKENDS.
    pub capacity: u32,
    /// The bit of the packet mark that carries "masquerade" from prerouting to postrouting; see [`MASQUERADE_MARK`].
    pub masquerade_mark: u32,
    /// Drops forwarded TCP packets that conntrack calls invalid, as kube-proxy's iptables mode (pkg/proxy/iptables/proxier.go)
    /// does unless the sysctl nf_conntrack_tcp_be_liberal is set: a client would answer a backend's own packet with a reset.
    pub drops_invalid: bool,
}

/// A base chain; its policy is `accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static CStr,
    /// `filter` or `nat`.
    pub kind: &'static CStr,
    pub hook: u32,
    pub priority: i32,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub expressions: Vec<Expression>,
    /// The number that its counter belongs to.
    pub counts: Option<Counted>,
}

/// What rules count: first packets of connections, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    ConnectionIpv4,
    ConnectionIpv6,
    Rejected,
    DroppedLocal,
    DroppedOutOfRange,
    /// Chosen, but the backend is not in the map.
    DroppedWithoutBackend,
    /// Packets.
    Invalid,
}

impl Ruleset {
    #[must_use]
    pub fn chains(&self) -> Vec<Chain> {
        let mut chains = vec![
            verdict(),
            nat(self.masquerade_mark),
            clear(),
            masquerading(self.masquerade_mark),
        ];
        if self.drops_invalid {
            chains.push(invalid());
        }
        chains
    }
}

/// Before NAT: new connections that are not to be forwarded.
fn verdict() -> Chain {
    let is = |verdict| [Load(Priority), and(KIND), Is(Word(verdict))];
    Chain {
        name: c"verdict",
        kind: c"filter",
        hook: PREROUTING,
        priority: DSTNAT - 1,
        rules: vec![
            // No verdict, or a choice.
            rule([Load(Priority), and(KIND & !OURS), Is(Word(0)), Accept]),
            rule([Load(InputDevice), Is(Word(LO)), Accept]),
            rule([LoadConnectionState, IsNot(Word(NEW)), Accept]),
            counting(
                Counted::Rejected,
                is(REJECT).into_iter().chain([
                    Load(Protocol),
                    Is(Byte(lb_common::TCP)),
                    Count,
                    RejectWithReset,
                ]),
            ),
            counting(
                Counted::Rejected,
                is(REJECT).into_iter().chain([Count, RejectWithUnreachable]),
            ),
            counting(
                Counted::DroppedLocal,
                is(DROP).into_iter().chain([Count, Drop]),
            ),
            counting(
                Counted::DroppedOutOfRange,
                is(OUT_OF_RANGE).into_iter().chain([Count, Drop]),
            ),
        ],
    }
}

/// The first packets of connections: to the backend. A packet whose backend is not in the map is dropped, so that the client
/// sends it again: an answer by this node would end the connection, and conntrack would remember a UDP flow without translation.
fn nat(mark: u32) -> Chain {
    // nft can read a rule that it has printed only if the rule itself matches one protocol.
    let dnat = |counted, family, protocol, map, dnat| {
        counting(
            counted,
            [
                Load(Family),
                Is(Byte(family)),
                Load(Protocol),
                Is(Byte(protocol)),
                Load(Priority),
                and(!MASQUERADE),
                LookUp(map),
                Count,
                dnat,
            ],
        )
    };
    let ipv4 = |protocol| dnat(Counted::ConnectionIpv4, IPV4, protocol, BACKENDS4, DnatIpv4);
    let ipv6 = |protocol| dnat(Counted::ConnectionIpv6, IPV6, protocol, BACKENDS6, DnatIpv6);
    Chain {
        name: c"nat",
        kind: c"nat",
        hook: PREROUTING,
        priority: DSTNAT,
        rules: vec![
            rule([Load(Priority), and(KIND), IsNot(Word(CHOICE)), Accept]),
            rule([Load(InputDevice), Is(Word(LO)), Accept]),
            rule([
                Load(Protocol),
                IsNot(Byte(lb_common::TCP)),
                IsNot(Byte(lb_common::UDP)),
                Accept,
            ]),
            rule([
                Load(Priority),
                and(MASQUERADE),
                IsNot(Word(0)),
                Load(Mark),
                Mask {
                    mask: !mark,
                    xor: mark,
                },
                Store(Mark),
            ]),
            ipv4(lb_common::TCP),
            ipv4(lb_common::UDP),
            ipv6(lb_common::TCP),
            ipv6(lb_common::UDP),
            counting(Counted::DroppedWithoutBackend, [Count, Drop]),
        ],
    }
}

/// After NAT: IPv6 forwarding would leave the verdict to the queues of the outgoing device (`ip_forward` overwrites it).
fn clear() -> Chain {
    Chain {
        name: c"clear",
        kind: c"filter",
        hook: PREROUTING,
        priority: DSTNAT + 1,
        rules: vec![rule([
            Load(Priority),
            and(OURS),
            IsNot(Word(0)),
            Load(InputDevice),
            IsNot(Word(LO)),
            Set(0),
            Store(Priority),
        ])],
    }
}

/// As in pkg/proxy/nftables/proxier.go of Kubernetes (`setupNFTables`). Beside kube-proxy, the chain that comes first masquerades
/// for both. `masquerade` would be a keyword of nft.
fn masquerading(mark: u32) -> Chain {
    Chain {
        name: c"masquerading",
        kind: c"nat",
        hook: POSTROUTING,
        priority: SRCNAT,
        rules: vec![
            rule([Load(Mark), and(mark), Is(Word(0)), Accept]),
            rule([
                Load(Mark),
                Mask {
                    mask: !mark,
                    xor: 0,
                },
                Store(Mark),
            ]),
            rule([Masquerade]),
        ],
    }
}

fn invalid() -> Chain {
    Chain {
        name: c"invalid",
        kind: c"filter",
        hook: FORWARD,
        priority: FILTER,
        rules: vec![counting(
            Counted::Invalid,
            [
                LoadConnectionState,
                Is(Word(INVALID)),
                Load(Protocol),
                Is(Byte(lb_common::TCP)),
                Count,
                Drop,
            ],
        )],
    }
}

const fn and(mask: u32) -> Expression {
    Mask { mask, xor: 0 }
}

fn rule(expressions: impl IntoIterator<Item = Expression>) -> Rule {
    Rule {
        expressions: expressions.into_iter().collect(),
        counts: None,
    }
}

fn counting(counted: Counted, expressions: impl IntoIterator<Item = Expression>) -> Rule {
    Rule {
        counts: Some(counted),
        ..rule(expressions)
    }
}
