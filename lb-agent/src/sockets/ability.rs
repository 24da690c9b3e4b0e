//! What the kernel and the thread's capabilities allow the thread to do with sockets.

use std::io;

use netlink_packet_sock_diag::constants::IPPROTO_UDP;
use netlink_packet_sock_diag::inet::StateFlags;
use rustix::thread::{CapabilitySet, capabilities};

use super::diag::{AF_INET, Diag, nonexistent};

/// What the thread can do, tested when it starts.
#[derive(Clone, Debug, Default)]
pub struct Ability {
    /// Why no socket can be ended.
    pub no_end: Option<Limitation>,
    /// Why network namespaces other than the agent's own are out of reach, wholly or in part.
    pub no_reach: Option<Limitation>,
    /// Whether the thread can enter other namespaces that it finds.
    pub(super) may_enter: bool,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limitation {
    #[error("{} missing", .0.join(", "))]
    Capabilities(Vec<&'static str>),
    #[error("the kernel cannot end sockets: build it with CONFIG_INET_DIAG_DESTROY")]
    Destroy,
    #[error("the kernel cannot list UDP sockets: {0}; build it with CONFIG_INET_UDP_DIAG")]
    List(String),
    #[error("the kernel does not answer requests about sockets (sock_diag(7)): {0}")]
    Diag(String),
}

impl Ability {
    /// The ability of the calling thread, in its network namespace.
    pub fn of_this_thread() -> Self {
        let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self {
            no_end: missing_capabilities(held, &[(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN")])
                .or_else(|| try_to_end().err()),
            no_reach: missing_capabilities(
                held,
                &[
                    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
                    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
                ],
            ),
            may_enter: held.contains(CapabilitySet::SYS_ADMIN),
        }
    }
}

impl Ability {
    /// Whether sockets in the agent's own network namespace can be ended.
    #[must_use]
    pub const fn includes_own_namespace(&self) -> bool {
        self.no_end.is_none()
    }

    /// Whether sockets of pods can be ended.
    #[must_use]
    pub const fn includes_other_namespaces(&self) -> bool {
        self.no_end.is_none() && self.no_reach.is_none()
    }
}

fn missing_capabilities(
    held: CapabilitySet,
    needed: &[(CapabilitySet, &'static str)],
) -> Option<Limitation> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(capability, _)| !held.contains(*capability))
        .map(|(_, name)| *name)
        .collect();
    (!missing.is_empty()).then_some(Limitation::Capabilities(missing))
}

/// Ends a socket that does not exist. The kernel also answers ENOENT if it cannot list UDP sockets, so this function
/// tests that too. The kernel checks the thread's permission only after it has found the socket (`sock_diag_destroy`).
fn try_to_end() -> Result<(), Limitation> {
    let mut diag = Diag::open().map_err(|error| Limitation::Diag(error.to_string()))?;
    let connected = StateFlags::ESTABLISHED;
    diag.list(AF_INET, IPPROTO_UDP, connected, |_| {})
        .map_err(|error| Limitation::List(error.to_string()))?;
    judge(diag.destroy(&nonexistent(IPPROTO_UDP)))
}

/// Interprets the kernel's answer to a request to end a socket that does not exist.
fn judge(answer: io::Result<()>) -> Result<(), Limitation> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Err(Limitation::Destroy),
        Err(error) => Err(Limitation::Diag(error.to_string())),
        Ok(()) => Err(Limitation::Diag(
            "it ended a socket that is not there".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_in_the_kernel_is_detected() {
        let answer = |number| judge(Err(io::Error::from_raw_os_error(number)));
        assert_eq!(answer(libc::ENOENT), Ok(()));
        // `inet_diag_cmd_exact` (net/ipv4/inet_diag.c) does the same for a protocol without `destroy`.
        assert_eq!(answer(libc::EOPNOTSUPP), Err(Limitation::Destroy));
        assert!(matches!(answer(libc::EPERM), Err(Limitation::Diag(_))));
        assert!(matches!(judge(Ok(())), Err(Limitation::Diag(_))));
    }

    #[test]
    fn a_missing_ability_is_named() {
        let needed = [
            (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
            (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
        ];
        assert_eq!(missing_capabilities(CapabilitySet::all(), &needed), None);
        let one = missing_capabilities(CapabilitySet::SYS_PTRACE, &needed).expect("one is missing");
        assert_eq!(one.to_string(), "CAP_SYS_ADMIN missing");
        let both = missing_capabilities(CapabilitySet::empty(), &needed).expect("both are missing");
        assert_eq!(both.to_string(), "CAP_SYS_ADMIN, CAP_SYS_PTRACE missing");
    }
}
