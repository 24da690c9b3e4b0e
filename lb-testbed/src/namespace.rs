//! Network namespaces, held by file descriptors: they have no name that could stay behind, and vanish with their process.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{fs, io, thread};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's network namespace. (`/proc/self` would be the main thread's.)
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace; clones share it.
#[derive(Clone, Debug)]
pub struct NetworkNamespace {
    file: Arc<File>,
}

impl NetworkNamespace {
    /// A new one, with nothing in it but a loopback device that is down.
    pub fn create() -> io::Result<Self> {
        thread::scope(|scope| {
            let making = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                Self::current()
            });
            making
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("making a network namespace panicked")))
        })
    }

    /// The calling thread's.
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(File::open(OWN)?),
        })
    }

    /// Moves the calling thread into it. Threads and processes that it starts afterwards are inside too.
    pub fn join(&self) -> io::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into)
    }

    /// Runs `work` on a thread inside and hands back what it gives; a panic goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| work()));
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the process that `command` starts begin inside. Unlike a command started from [`Self::enter`] it is
    /// then the child of the calling thread, which matters to PR_SET_PDEATHSIG.
    pub fn starts<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let namespace = self.clone();
        // SAFETY: between fork and exec only setns is called, which is async-signal-safe and allocates nothing.
        unsafe { command.pre_exec(move || namespace.join()) }
    }

    /// Runs iproute2 inside, with one command a line: `link set eth0 name wan0`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.enter(|| ip_batch(lines))
            .context("cannot enter a network namespace")?
    }

    /// Runs `nft -f` inside, with these commands as its input.
    pub fn nft(&self, commands: &str) -> Result<()> {
        self.enter(|| feed("nft", &["-f", "-"], commands, "nftables"))
            .context("cannot enter a network namespace")?
    }

    /// Sets sysctls inside; a name is a path below /proc/sys, like `net/ipv4/ip_forward`.
    pub fn set_sysctls(&self, sysctls: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            sysctls.iter().try_for_each(|(name, value)| {
                // /proc/sys/net shows the network namespace of the thread that opens a file.
                fs::write(Path::new("/proc/sys").join(name), value)
                    .with_context(|| format!("cannot set the sysctl {name} to {value}"))
            })
        })
        .context("cannot enter a network namespace")?
    }

    /// A path that iproute2 accepts for `netns`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs iproute2 with one command a line in the calling thread's network namespace: one process for them all.
pub(crate) fn ip_batch(lines: &str) -> Result<()> {
    feed("ip", &["-batch", "-"], lines, "iproute2")
}

/// Runs a program of a Debian package with `input` as its standard input.
fn feed(program: &str, arguments: &[&str], input: &str, package: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`: install {package}"))?;
    let mut stdin = child
        .stdin
        .take()
        .with_context(|| format!("{program} has no standard input"))?;
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed: {}; it was given:\n{input}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    written.with_context(|| format!("cannot write to {program}"))
}

/// The node's and the pods' addresses, 10.244.0.NUMBER and fd00:244::NUMBER: the same digits in both.
pub(crate) fn addresses(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    let number = u16::from(number);
    let digits = (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10);
    let [.., last] = number.to_be_bytes();
    (
        Ipv4Addr::new(10, 244, 0, last),
        Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, digits),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_and_ipv6_addresses_end_alike() {
        for (number, ipv4, ipv6) in [
            (1, "10.244.0.1", "fd00:244::1"),
            (12, "10.244.0.12", "fd00:244::12"),
            (254, "10.244.0.254", "fd00:244::254"),
        ] {
            let (four, six) = addresses(number);
            assert_eq!(
                (four.to_string().as_str(), six.to_string().as_str()),
                (ipv4, ipv6)
            );
        }
    }
}
