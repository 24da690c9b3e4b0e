//! A process with fewer capabilities.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
};

/// Limits the capabilities of a process that root starts to `left`: the process gets those of its bounding set (capabilities(7)).
pub fn with_only(command: &mut Command, left: CapabilitySet) -> &mut Command {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for bit in 0..u64::BITS {
                let capability = CapabilitySet::from_bits_retain(1 << bit);
                // An error means that the kernel has no such capability.
                let is_there = capability_is_in_bounding_set(capability).unwrap_or(false);
                if is_there && !left.contains(capability) {
                    remove_capability_from_bounding_set(capability)?;
                }
            }
            Ok(())
        })
    }
}
