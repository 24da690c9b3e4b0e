//! Limits a thread of this process to the privileges that its work needs.
//!
//! The kernel keeps capabilities, no_new_privs and filters of system calls for each thread. A new thread inherits those
//! of the thread that starts it. A thread cannot get back what it drops here.

mod calls;

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

pub use self::calls::{Calls, CallsError};

/// For programs and tables, including those made later.
pub const OF_TABLES: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);

/// For finding and entering network namespaces, including those that only an open file of another user's process holds
/// (`proc_fd_permission` in fs/proc/fd.c), or a mount below another user's folder. Also for ending sockets there.
pub const OF_SOCKETS: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::NET_ADMIN);

/// The calling thread's effective capabilities.
///
/// # Errors
/// The kernel does not report them.
pub fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Ensures that no program that the calling thread starts gets more privileges than the thread, even if its file has
/// set-user-ID bits or capabilities.
///
/// # Errors
/// The kernel refuses.
pub fn no_more() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// Drops all capabilities of the calling thread except these; adds none.
///
/// Shrinks the bounding set too if the thread has CAP_SETPCAP. Otherwise the bounding set stays, and has no effect
/// after [`no_more`].
///
/// # Errors
/// The kernel refuses only if a filter of system calls prevents it.
pub fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        shrink_bounding_set(wanted)?;
    }
    clear_ambient_capability_set()?;
    let left = held.permitted & wanted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

fn shrink_bounding_set(wanted: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !wanted.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The number is above the last capability of this kernel.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Formats a set, such as `CAP_BPF, CAP_NET_ADMIN`.
#[must_use]
pub fn names(capabilities: CapabilitySet) -> String {
    let names = capabilities.iter_names().map(|(name, _)| name);
    let names: Vec<String> = names.map(|name| format!("CAP_{name}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_keeps_the_requested_capabilities_that_it_has() {
        let before = held().expect("the kernel answers");
        let wanted = CapabilitySet::BPF | CapabilitySet::SYS_RESOURCE;
        let after = thread::spawn(move || {
            no_more().expect("anybody may");
            keep(wanted).expect("less is always allowed");
            // A dropped capability does not come back.
            keep(CapabilitySet::all()).expect("the same again is no more");
            capabilities(None).expect("the kernel answers")
        });
        let after = after.join().expect("it does not panic");
        assert_eq!(after.effective, before & wanted);
        assert_eq!(after.permitted, before & wanted);
        assert!(after.inheritable.is_empty());
        assert_eq!(held().expect("the kernel answers"), before);
    }

    #[test]
    fn capabilities_have_their_usual_names() {
        assert_eq!(names(OF_TABLES), "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()), "");
    }
}
