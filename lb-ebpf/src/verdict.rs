//! How connect and send hooks end a call: it passes unchanged, goes to a backend, or is refused.

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::info;
use lb_common::stats::{REFUSED_NO_BACKEND, REFUSED_UNKNOWN_ADDRESS, REFUSED_UNKNOWN_PORT};

use crate::backend::BackendLine;
use crate::ctx::{self, Family};
use crate::maps;

/// What a hook returns to let the call go on to the address in the context.
pub const PASS: i32 = 1;

/// What a hook returns to fail the call, with the error of `bpf_set_retval`.
const FAIL: i32 = 0;

const ECONNREFUSED: i32 = 111;

/// Why a call is refused. Ports are in network byte order.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// The frontend with this id has no backend.
    NoBackend { frontend: u32 },
    /// The address is a ClusterIP that we serve, and it has no such port.
    UnknownPort { port: u16 },
    /// No Service has the address, which is in a Service CIDR.
    UnknownAddress { port: u16 },
}

/// Replaces the destination by a backend's address.
#[inline(always)]
pub fn go_to<F: Family>(ctx: &SockAddrContext, backend: BackendLine) -> i32 {
    ctx::set_peer::<F>(ctx, backend.peer());
    PASS
}

/// Fails the call at once with ECONNREFUSED, like kube-proxy's REJECT for a client on the node.
#[inline(always)]
pub fn refuse(ctx: &SockAddrContext, why: Refusal) -> i32 {
    let counter = match why {
        Refusal::NoBackend { frontend } => {
            info!(ctx, "refused: no backend for frontend {}", frontend);
            REFUSED_NO_BACKEND
        }
        Refusal::UnknownPort { port } | Refusal::UnknownAddress { port } => {
            info!(
                ctx,
                "refused: no Service has this address with port {}",
                u16::from_be(port)
            );
            match why {
                Refusal::UnknownAddress { .. } => REFUSED_UNKNOWN_ADDRESS,
                _ => REFUSED_UNKNOWN_PORT,
            }
        }
    };
    maps::count(counter);
    // SAFETY: the helper only stores the number.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    FAIL
}
