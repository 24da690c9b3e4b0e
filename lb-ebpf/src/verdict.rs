//! How connect and send hooks end a call: it passes unchanged, goes to a backend, or is refused.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::info;
use lb_common::FrontendKey;
use lb_common::event::kind;
use lb_common::stats::{REFUSED_NO_BACKEND, REFUSED_UNKNOWN_ADDRESS, REFUSED_UNKNOWN_PORT};

use crate::backend::BackendLine;
use crate::ctx::{self, Family};
use crate::event::{self, Happening};
use crate::maps;
use crate::service::Counters;

/// What a hook returns to let the call go on to the address in the context.
pub const PASS: i32 = 1;

/// What a hook returns to fail the call, with the error of `bpf_set_retval`.
const FAIL: i32 = 0;

const ECONNREFUSED: i32 = 111;

/// Why a call is refused.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// The frontend has no backend.
    NoBackend {
        /// The frontend's id.
        frontend: u32,
        /// Its service port's id.
        service_port: u32,
    },
    /// The address is a ClusterIP that we serve, and it has no such port.
    UnknownPort,
    /// No Service has the address, which is in a Service CIDR.
    UnknownAddress,
}

/// Replaces the destination by a backend's address.
#[inline(always)]
pub fn go_to<F: Family>(ctx: &SockAddrContext, backend: BackendLine) -> i32 {
    ctx::set_peer::<F>(ctx, backend.peer());
    PASS
}

/// Fails the call at once with ECONNREFUSED, like kube-proxy's REJECT for a client on the node. In shadow mode only counts and
/// reports it.
///
/// `asked`: the destination of the call.
#[inline(always)]
pub fn refuse(ctx: &SockAddrContext, asked: &FrontendKey, why: Refusal) -> i32 {
    let mut what = Happening {
        kind: kind::NO_BACKEND,
        frontend: 0,
        backend: 0,
        service_port: 0,
    };
    let counter = match why {
        Refusal::NoBackend {
            frontend,
            service_port,
        } => {
            info!(ctx, "refused: no backend for frontend {}", frontend);
            if let Some(counters) = Counters::of(service_port) {
                counters.count_refused();
            }
            (what.frontend, what.service_port) = (frontend, service_port);
            REFUSED_NO_BACKEND
        }
        Refusal::UnknownPort | Refusal::UnknownAddress => {
            info!(
                ctx,
                "refused: no Service has this address with port {}",
                u16::from_be(asked.port)
            );
            match why {
                Refusal::UnknownAddress => {
                    what.kind = kind::UNKNOWN_ADDRESS;
                    REFUSED_UNKNOWN_ADDRESS
                }
                _ => {
                    what.kind = kind::UNKNOWN_PORT;
                    REFUSED_UNKNOWN_PORT
                }
            }
        }
    };
    maps::count(counter);
    event::report(ctx, asked, what);
    if is_shadow() {
        return PASS;
    }
    // SAFETY: the helper only stores the number.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    FAIL
}

/// Whether the hooks only choose and count, and let every call pass unchanged.
#[inline(always)]
pub fn is_shadow() -> bool {
    HAS_SHADOW.load() != 0
}

/// 1 in shadow mode (`--shadow`), else 0. The verifier then removes what is only for it.
#[unsafe(no_mangle)]
pub static HAS_SHADOW: Global<u32> = Global::new(0);
