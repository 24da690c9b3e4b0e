//! Why netfilter could not be used, each with what to do about it.

use std::io;

use super::part::Part;

#[derive(Debug, thiserror::Error)]
pub enum NetfilterError {
    #[error(
        "cannot use nftables, so only sockets are served: the kernel has no nf_tables ({0}); load the module nf_tables \
         (CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET), or turn the packet path off"
    )]
    Unavailable(io::Error),
    #[error(
        "cannot make {part} of the nftables table inet socklb, so only sockets are served: the kernel lacks what it needs \
         ({error}); load the modules nft_chain_nat, nft_ct, nft_masq, nft_nat and nft_reject_inet, or turn the packet path off"
    )]
    Unsupported { part: Part, error: io::Error },
    #[error(
        "cannot change {0} of the nftables table inet socklb: not allowed to; give lb-agent CAP_NET_ADMIN in the host's \
         network namespace"
    )]
    NotAllowed(Part),
    /// It is left as it is.
    #[error(
        "cannot use the nftables table inet socklb, so only sockets are served: another program made it ({}); give that \
         program's table another name, or remove it with `nft delete table inet socklb`",
        contents(chains, maps)
    )]
    Foreign {
        chains: Vec<String>,
        maps: Vec<String>,
    },
    #[error(
        "cannot use the nftables table inet socklb, so only sockets are served: another program owns it (netlink port {0}, in \
         most cases its process id), and the kernel lets no other one change it; end that program"
    )]
    Owned(u32),
    /// [`super::Netfilter::check`] makes it again.
    #[error("cannot change elements of the nftables table inet socklb: another program removed it")]
    Gone,
    #[error(
        "cannot add elements to the nftables table inet socklb: its maps are full; raise --max-endpoints"
    )]
    Full,
    #[error("cannot add backend {0} to the nftables table inet socklb: ids have 24 bits")]
    Id(u32),
    #[error(
        "cannot repair the nftables table inet socklb: other programs changed nftables at each of {0} attempts; it is tried \
         again with the next check"
    )]
    Busy(u32),
    #[error(
        "cannot repair the nftables table inet socklb: the kernel still shows a difference ({}); another program may be \
         changing it again and again: `nft monitor` shows which", list(.0)
    )]
    Unlike(Vec<Part>),
    #[error("cannot change {part} of the nftables table inet socklb: {error}")]
    Refused { part: Part, error: io::Error },
    #[error("cannot {action} nftables: {error}")]
    System {
        /// `read` or `watch`.
        action: &'static str,
        error: io::Error,
    },
}

impl NetfilterError {
    /// For `map_err`: the socket could not be opened or asked for the first time.
    pub fn opening(error: io::Error) -> Self {
        match error.raw_os_error() {
            // Without nf_tables, nfnetlink does not know the message (`nfnetlink_rcv_msg` in net/netfilter/nfnetlink.c).
            Some(libc::EPROTONOSUPPORT | libc::EINVAL | libc::EOPNOTSUPP) => {
                Self::Unavailable(error)
            }
            _ => Self::reading(error),
        }
    }

    /// For `map_err`: a question failed.
    pub fn reading(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM) => Self::NotAllowed(Part::Table),
            _ => Self::System {
                action: "read",
                error,
            },
        }
    }

    /// A transaction was refused because of this part.
    pub fn writing(part: Part, error: io::Error) -> Self {
        match (error.raw_os_error(), &part) {
            (Some(libc::EPERM), _) => Self::NotAllowed(part),
            (Some(libc::ENFILE), _) => Self::Full,
            (Some(libc::ENOENT), Part::Elements) => Self::Gone,
            (Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT), _) => {
                Self::Unsupported { part, error }
            }
            _ => Self::Refused { part, error },
        }
    }
}

fn contents(chains: &[String], maps: &[String]) -> String {
    let named = |kind: &str, names: &[String]| match names {
        [] => format!("no {kind}s"),
        [name] => format!("{kind} {name}"),
        names => format!("{kind}s {}", names.join(", ")),
    };
    format!(
        "it has {} and {}",
        named("chain", chains),
        named("map", maps)
    )
}

fn list(parts: &[Part]) -> String {
    let parts: Vec<String> = parts.iter().map(Part::to_string).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_told_from_a_missing_table() {
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        let chain = Part::Chain("nat".to_owned());
        let error = NetfilterError::writing(chain, missing());
        assert!(matches!(error, NetfilterError::Unsupported { .. }));
        let error = NetfilterError::writing(Part::Elements, missing());
        assert!(matches!(error, NetfilterError::Gone));
    }

    #[test]
    fn a_kernel_without_nf_tables_does_not_know_its_messages() {
        for number in [libc::EPROTONOSUPPORT, libc::EINVAL] {
            let error = NetfilterError::opening(io::Error::from_raw_os_error(number));
            assert!(matches!(error, NetfilterError::Unavailable(_)));
        }
    }
}
