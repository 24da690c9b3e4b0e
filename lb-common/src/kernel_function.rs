//! Calls of kernel functions (kfuncs) in the programs' object.
//!
//! Such a call contains the function's BTF id, which differs between kernels. The programs contain a marker instead,
//! which the loader replaces (`kernel_function.rs` in lb-agent).

/// Marker of `bpf_cast_to_kern_ctx` (kernel/bpf/helpers.c, since Linux 6.2).
pub const CAST_TO_KERNEL_CONTEXT: u32 = 0x6b_63_6f_73;

/// The instruction `BPF_JMP | BPF_CALL` with `BPF_PSEUDO_KFUNC_CALL` (include/uapi/linux/bpf.h), in the byte order of
/// the object (little endian).
///
/// `function`: BTF id of the function, or its marker. The kernel accepts 0 as long as the verifier removes the call as
/// dead code (`add_kfunc_call` in kernel/bpf/verifier.c).
#[must_use]
pub const fn call(function: u32) -> [u8; 8] {
    const CALL: u8 = 0x85;
    const KERNEL_FUNCTION: u8 = 2 << 4;
    let id = function.to_le_bytes();
    [CALL, KERNEL_FUNCTION, 0, 0, id[0], id[1], id[2], id[3]]
}
