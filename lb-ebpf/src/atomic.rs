//! Words of tables that programs on other CPUs and the agent access at the same time.
//!
//! `core::sync::atomic` does not offer these instructions for the BPF target. What orders which access is in
//! docs/decisions/0013-memory-order.md.

/// A 64-bit word in a map's value.
#[derive(Clone, Copy)]
pub struct Word(*mut u64);

impl Word {
    /// # Safety
    /// `word` points to an aligned 64-bit word of a map's value, which stays valid while the program runs.
    #[inline(always)]
    pub const unsafe fn new(word: *mut u64) -> Self {
        Self(word)
    }

    /// Reads the word, exactly once.
    #[inline(always)]
    pub fn load(self) -> u64 {
        // SAFETY: the pointer is valid, by `new`.
        unsafe { self.0.read_volatile() }
    }

    /// The same word, for a read that must not come before the read of `earlier`: see [`after`].
    #[inline(always)]
    pub fn after(self, earlier: u64) -> Self {
        Self(after(self.0, earlier))
    }

    /// Writes the word. Orders no other access.
    #[inline(always)]
    pub fn store(self, value: u64) {
        // SAFETY: the pointer is valid, by `new`.
        unsafe { self.0.write_volatile(value) }
    }

    /// Adds to the word, and wraps on overflow.
    #[inline(always)]
    pub fn add(self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer is valid, by `new`.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) self.0, in(reg) value);
        }
        #[cfg(not(target_arch = "bpf"))]
        let _ = value;
    }

    /// Sets bits of the word.
    #[inline(always)]
    pub fn or(self, bits: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer is valid, by `new`.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) |= {1}", in(reg) self.0, in(reg) bits);
        }
        #[cfg(not(target_arch = "bpf"))]
        let _ = bits;
    }

    /// Adds to the word and returns its previous value.
    #[inline(always)]
    pub fn fetch_add(self, value: u64) -> u64 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer is valid, by `new`.
        unsafe {
            let mut old = value;
            core::arch::asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) self.0, inout(reg) old);
            old
        }
        #[cfg(not(target_arch = "bpf"))]
        value
    }

    /// Replaces the word's value and returns the previous one. Orders all memory accesses around it.
    #[inline(always)]
    pub fn exchange(self, value: u64) -> u64 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer is valid, by `new`.
        unsafe {
            let mut old = value;
            core::arch::asm!("{1} = xchg_64({0} + 0, {1})", in(reg) self.0, inout(reg) old);
            old
        }
        #[cfg(not(target_arch = "bpf"))]
        value
    }

    /// Replaces the word's value with `new` if it is `old`. Returns whether it was.
    #[inline(always)]
    pub fn compare_exchange(self, old: u64, new: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer is valid, by `new`.
        unsafe {
            let mut found = old;
            core::arch::asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) self.0, in(reg) new, inout("r0") found);
            found == old
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            let _ = new;
            old == 0
        }
    }
}

/// The same pointer, computed from a value that was read before. Reads through it come after that read on every CPU: arm64
/// keeps the order of reads only if the address of the later one depends on the value of the earlier one, and
/// BPF has had no acquiring load before Linux 6.15.
#[inline(always)]
pub fn after<T>(pointer: *mut T, earlier: u64) -> *mut T {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the distance is 0. Neither LLVM nor the kernel's compilers look into the instruction.
    unsafe {
        let mut zero = earlier;
        core::arch::asm!("{0} &= 0", inout(reg) zero, options(pure, nomem, nostack));
        pointer.byte_add(zero as usize)
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = earlier;
        pointer
    }
}

/// Reads a word, exactly once.
#[inline(always)]
pub fn load(word: &u64) -> u64 {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::from_ref(word).read_volatile() }
}
