//! Which clients the hooks serve, if the agent selects pods.

use aya_ebpf::Global;
use aya_ebpf::programs::SockAddrContext;
use lb_common::client::SERVED;

use crate::ctx::Client as _;
use crate::maps;

/// Whether the hooks serve the socket's network namespace. One that the agent has not found yet is not served.
#[inline(always)]
pub fn is_served(ctx: &SockAddrContext) -> bool {
    HAS_CLIENTS.load() == 0 || maps::client(ctx.id()).is_some_and(|value| value.load() == SERVED)
}

/// 1 if only the namespaces in CLIENTS are served, else 0. The verifier then removes the look-up.
#[unsafe(no_mangle)]
pub static HAS_CLIENTS: Global<u32> = Global::new(0);
