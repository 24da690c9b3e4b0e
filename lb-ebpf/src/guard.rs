//! Which misses are refused: calls to a ClusterIP's unknown ports, and to unknown addresses of a Service CIDR.
//!
//! kube-proxy's nftables mode rejects the former and drops the latter (the chain `cluster-ips-check` in
//! pkg/proxy/nftables/proxier.go).

use aya_ebpf::programs::SockAddrContext;
use lb_common::config::{GUARDED_IPV4, GUARDED_IPV6, SERVICE_CIDRS, first_half};
use lb_common::frontend::guard;
use lb_common::{Address, FrontendKey, is_mapped};

use crate::frontend::Element;
use crate::verdict::Refusal;
use crate::{client, config};

/// Why a socket's call to this key, which is no frontend's, is refused. None if it passes, as every call of a client that is not
/// served.
#[inline(always)]
pub fn refusal_for(ctx: &SockAddrContext, key: &FrontendKey) -> Option<Refusal> {
    refusal(key).filter(|_| client::is_served(ctx))
}

/// Why a call to this key, which is no frontend's, is refused. None if it passes.
///
/// Only addresses inside of the guarded subnets cost a look-up.
#[inline(always)]
pub fn refusal(key: &FrontendKey) -> Option<Refusal> {
    if !may_be_guarded(key.address) || config::fails_open() {
        return None;
    }
    let key = FrontendKey::new(key.address, 0, 0);
    let Some(element) = Element::find(&key) else {
        let is_unknown = config::is_in_cidrs(SERVICE_CIDRS, key.address);
        return is_unknown.then_some(Refusal::UnknownAddress);
    };
    let is_refused = element
        .read(&key)
        .is_some_and(|target| target.frontend == guard::REFUSE);
    is_refused.then_some(Refusal::UnknownPort)
}

/// Whether the address is in the subnet that contains all guarded addresses of its family.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "takes the lower and the upper half"
)]
fn may_be_guarded(address: Address) -> bool {
    if is_mapped(address) {
        let subnet = config::word(GUARDED_IPV4);
        return address[3] & (subnet >> 32) as u32 == subnet as u32;
    }
    first_half(address) & config::word(GUARDED_IPV6) == config::word(GUARDED_IPV6 + 1)
}
