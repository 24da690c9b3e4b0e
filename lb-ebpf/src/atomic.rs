//! The atomic instructions that `core::sync::atomic` does not offer for the BPF target.

/// Adds to a word of a table.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn add(word: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) value);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (word, value);
}

/// Sets bits of a word of a table.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn or(word: *mut u64, bits: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) |= {1}", in(reg) word, in(reg) bits);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (word, bits);
}

/// Adds to a word of a table and returns what it held.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        let mut old = value;
        core::arch::asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) word, inout(reg) old);
        old
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = word;
        value
    }
}

/// Puts a value into a word and returns what it held; orders all memory accesses around it.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn exchange(word: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        let mut old = value;
        core::arch::asm!("{1} = xchg_64({0} + 0, {1})", in(reg) word, inout(reg) old);
        old
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = word;
        value
    }
}

/// Puts `new` into a word if it holds `old`, and says whether it did.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        let mut held = old;
        core::arch::asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word, in(reg) new, inout("r0") held);
        held == old
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = (word, new);
        old == 0
    }
}

/// Reads a word that others write at the same time: once, and whole.
///
/// # Safety
/// `word` points to an aligned word of a map's value.
#[inline(always)]
pub unsafe fn load(word: *const u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { word.read_volatile() }
}
