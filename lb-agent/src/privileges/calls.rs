//! Denies system calls that the agent never makes and that an intruder could use: they fail with EPERM (seccomp(2)).
//!
//! The list contains the denied calls, not the allowed ones. A new version of a library may make other calls than
//! today, but none will load a kernel module. So the list has only calls that libraries of ordinary programs do not
//! make, or can do without.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter,
};

/// The calls that a thread is allowed in spite of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// The thread starts other programs. They may make ordinary programs' calls, but none of those that control the
    /// system.
    pub programs: bool,
    /// The thread enters network namespaces.
    pub namespaces: bool,
}

/// Why no call is denied.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    #[error("cannot make a filter of system calls: {0}")]
    Filter(#[from] BackendError),
    #[error("cannot install a filter of system calls: {0}; the kernel needs CONFIG_SECCOMP_FILTER")]
    Refused(#[from] seccompiler::Error),
}

impl Calls {
    /// Denies the other calls to the calling thread and to the threads and programs that it starts; sets no_new_privs.
    ///
    /// A call by the numbers of another architecture ends the process. No thread of the agent makes one, but a 32-bit
    /// program would.
    ///
    /// # Errors
    /// The kernel has no filters of system calls (CONFIG_SECCOMP_FILTER), or an existing filter prevents it.
    pub fn allow_only(self) -> Result<(), CallsError> {
        let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let rules: BTreeMap<i64, _> = self.denied().map(|call| (call, Vec::new())).collect();
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch)?;
        let program: BpfProgram = filter.try_into()?;
        Ok(apply_filter(&program)?)
    }

    fn denied(self) -> impl Iterator<Item = c_long> {
        let unless = |is_allowed: bool, list: &'static [c_long]| match is_allowed {
            true => [].as_slice(),
            false => list,
        };
        SYSTEM
            .iter()
            .chain(machine::CALLS)
            .chain(unless(self.programs, PROGRAMS))
            .chain(unless(self.namespaces, &[libc::SYS_setns]))
            .flat_map(|call| machine::numbers(*call))
            .chain(machine::ALL_OF)
    }
}

/// Calls of programs that manage a system, or access other processes.
const SYSTEM: &[c_long] = &[
    // Mounts, and other parts of containers.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // The kernel.
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    // The system.
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_vhangup,
];

/// Calls of all kinds of programs that this one does not make.
const PROGRAMS: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_request_key,
];

/// Calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
mod machine {
    use libc::c_long;

    pub const CALLS: &[c_long] = &[
        libc::SYS_ioperm,
        libc::SYS_iopl,
        libc::SYS_kexec_file_load,
        libc::SYS_mknod,
        libc::SYS_modify_ldt,
        libc::SYS_uselib,
    ];

    /// asm/unistd.h: the kernel accepts calls of programs with 32-bit pointers (x32) by these numbers.
    const X32: c_long = 0x4000_0000;

    /// Calls of x32 with numbers of their own, execve and ptrace among them (arch/x86/entry/syscalls/syscall_64.tbl).
    pub const ALL_OF: std::ops::RangeInclusive<c_long> = X32 + 512..=X32 + 547;

    pub const fn numbers(call: c_long) -> [c_long; 2] {
        [call, call + X32]
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use libc::c_long;

    pub const CALLS: &[c_long] = &[];
    pub const ALL_OF: [c_long; 0] = [];

    pub const fn numbers(call: c_long) -> [c_long; 1] {
        [call]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd as _;
    use std::process::Command;
    use std::thread;

    use nix::sched::{CloneFlags, setns, unshare};

    use super::*;

    /// Runs `work` on a thread that is allowed only these calls.
    fn within<T: Send + 'static>(calls: Calls, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(move || {
            calls.allow_only().expect("the kernel has seccomp");
            work()
        });
        thread.join().expect("it does not panic")
    }

    /// This call needs no privilege.
    fn unshare_files() -> nix::Result<()> {
        unshare(CloneFlags::CLONE_FILES)
    }

    fn start_a_program() -> io::Result<bool> {
        Ok(Command::new("/bin/true").status()?.success())
    }

    #[test]
    fn denied_calls_fail_and_others_work() {
        let nothing = Calls::default();
        assert_eq!(within(nothing, unshare_files), Err(nix::Error::EPERM));
        let started = within(nothing, start_a_program).map_err(|error| error.kind());
        assert_eq!(started, Err(io::ErrorKind::PermissionDenied));
        let read = within(nothing, || std::fs::read_to_string("/proc/self/status"));
        assert!(read.is_ok());
        // The filter applies to that thread only.
        assert_eq!(unshare_files(), Ok(()));
    }

    #[test]
    fn executing_programs_can_be_allowed() {
        let programs = Calls {
            programs: true,
            ..Calls::default()
        };
        assert!(within(programs, start_a_program).expect("it starts"));
        assert_eq!(within(programs, unshare_files), Err(nix::Error::EPERM));
    }

    #[test]
    fn entering_namespaces_can_be_allowed() {
        // Without a filter the kernel answers EINVAL for a file that is no namespace.
        let enter = || {
            let file = File::open("/proc/self/status").expect("procfs is there");
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        };
        let namespaces = Calls {
            namespaces: true,
            ..Calls::default()
        };
        assert_eq!(within(namespaces, enter), Err(nix::Error::EINVAL));
        assert_eq!(within(Calls::default(), enter), Err(nix::Error::EPERM));
    }

    /// Checks the numbers only, since no program that is built here makes such calls.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn x32_call_numbers_do_not_bypass_the_filter() {
        let denied: Vec<c_long> = Calls::default().denied().collect();
        let x32 = 0x4000_0000;
        for call in [libc::SYS_mount, libc::SYS_keyctl, 520, 521, 545] {
            assert!(denied.contains(&(x32 + call)), "{call}");
        }
    }
}
