//! The fields of the kernel's own sockets that the programs may read, and how they read them: both depend on the
//! kernel.

use super::btf;

/// The values that the loader sets in the programs (`lb-ebpf/src/identity.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFields {
    /// `sock_common.skc_cookie` (include/net/sock.h), the beginning of every kind of socket: its offset in bytes. 0:
    /// the programs read nothing.
    pub cookie: u32,
    /// `sock_common.skc_state`: its offset in bytes. 0: without outlier detection.
    pub state: u32,
    /// `mptcp_sock.first` (net/mptcp/protocol.h): its offset in bytes. 0: without MPTCP.
    pub first_subflow: u32,
    /// `tcp_sock.bytes_acked` (include/linux/tcp.h): its offset in bytes. 0: failed connections are not counted.
    pub bytes_acked: u32,
    /// `tcp_sock.srtt_us`: its offset in bytes. 0: round-trip times are not counted.
    pub smoothed_rtt: u32,
    /// The value of the first sample of `tcp_sock.rtt_min` (include/linux/win_minmax.h): its offset in bytes. 0: as before.
    pub smallest_rtt: u32,
    /// None: the programs read through a helper, for TCP sockets and in the release hook only.
    pub kernel_context: Option<KernelContext>,
}

/// How a program accesses the kernel's structure behind its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelContext {
    /// BTF id of `bpf_cast_to_kern_ctx` (kernel/bpf/helpers.c, since Linux 6.2).
    pub cast: u32,
    /// `bpf_sock_addr_kern.sk` (include/linux/filter.h): its offset in bytes.
    pub socket: u32,
}

/// Offset of `v` in `struct minmax_sample`, in bytes.
const SAMPLE_VALUE: u32 = 4;

impl SocketFields {
    /// The values for the running kernel.
    pub fn of_kernel() -> Self {
        let btf = btf::kernel().unwrap_or_else(|error| {
            tracing::debug!(
                event = "programs.types_not_readable",
                %error,
                "cannot read the kernel's types (BTF)",
            );
            Vec::new()
        });
        let fields = Self::find(&btf);
        tracing::debug!(
            event = "programs.fields_found",
            socket_fields = ?fields,
            "found the fields by which programs read sockets",
        );
        fields
    }

    fn find(btf: &[u8]) -> Self {
        let mut fields = Self::default();
        let (mut cast, mut socket) = (None, None);
        for found in btf::types(btf).into_iter().flatten() {
            if found.is_structure("sock_common") {
                fields.cookie = found.member_offset("skc_cookie").unwrap_or(0);
                fields.state = found.member_offset("skc_state").unwrap_or(0);
            } else if found.is_structure("mptcp_sock") {
                fields.first_subflow = found.member_offset("first").unwrap_or(0);
            } else if found.is_structure("tcp_sock") {
                fields.bytes_acked = found.member_offset("bytes_acked").unwrap_or(0);
                fields.smoothed_rtt = found.member_offset("srtt_us").unwrap_or(0);
                let samples = found.member_offset("rtt_min");
                fields.smallest_rtt = samples.map_or(0, |samples| samples + SAMPLE_VALUE);
            } else if found.is_structure("bpf_sock_addr_kern") {
                socket = found.member_offset("sk");
            } else if found.is_function("bpf_cast_to_kern_ctx") {
                cast = Some(found.id);
            }
        }
        fields.kernel_context = cast
            .zip(socket)
            .map(|(cast, socket)| KernelContext { cast, socket });
        fields
    }

    /// The values to load the programs with, tried in this order until the kernel accepts them; with the last the
    /// programs read nothing.
    ///
    /// In lockdown the kernel lets no program read its memory by a helper (`LOCKDOWN_BPF_READ_KERNEL`). MPTCP sockets, the
    /// fields of TCP sockets and outlier detection need that helper, and so does the release hook without the kernel function.
    pub fn attempts(self) -> Vec<Self> {
        let without_helper = Self {
            state: 0,
            first_subflow: 0,
            bytes_acked: 0,
            smoothed_rtt: 0,
            smallest_rtt: 0,
            ..self
        };
        let without_function = Self {
            kernel_context: None,
            ..self
        };
        let mut attempts = vec![self, without_helper, without_function, Self::default()];
        attempts.dedup();
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_btf_has_the_fields() {
        let fields = SocketFields::of_kernel();
        let is_word = |offset: u32, bytes| offset != 0 && offset.is_multiple_of(bytes);
        assert!(
            is_word(fields.cookie, 8)
                && fields.state != 0
                && is_word(fields.bytes_acked, 8)
                && is_word(fields.smoothed_rtt, 4)
                && is_word(fields.smallest_rtt, 4),
            "{fields:?}"
        );
    }

    #[test]
    fn attempts_are_distinct_and_the_last_reads_no_field() {
        let all = SocketFields {
            cookie: 104,
            state: 18,
            first_subflow: 1_600,
            bytes_acked: 1_800,
            smoothed_rtt: 1_900,
            smallest_rtt: 1_950,
            kernel_context: Some(KernelContext { cast: 7, socket: 0 }),
        };
        let attempts = all.attempts();
        assert_eq!(attempts.len(), 4);
        assert_eq!(attempts[0], all);
        assert_eq!(attempts[3], SocketFields::default());
        assert_eq!(SocketFields::default().attempts().len(), 1);
    }
}
