//! Two TUN devices, and a thread that carries packets between them: a link whose packets have no link header.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc::{self, IFF_NO_PI, IFF_TUN, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::namespace::NetworkNamespace;

/// Longer than the devices' MTU of 1,500 bytes.
const LONGEST_PACKET: usize = 2048;
/// Room for a device's name in a request, with its zero byte (IFNAMSIZ).
const NAME_LENGTH: usize = 16;

/// The two devices exist until it is dropped.
#[derive(Debug)]
pub(super) struct Cable {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    /// Makes a device in each of the two network namespaces.
    pub(super) fn lay(
        one: (&NetworkNamespace, &str),
        other: (&NetworkNamespace, &str),
    ) -> Result<Self> {
        let [one, other] = [one, other].map(|(namespace, name)| {
            namespace
                .enter(|| open(name))
                .flatten()
                .with_context(|| format!("cannot make the TUN device {name}"))
        });
        let ends = [one?, other?];
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map(Arc::new)
            .context("cannot make an eventfd")?;
        let stopping = stop.clone();
        let thread = thread::Builder::new()
            .name("cable".to_owned())
            .spawn(move || {
                if let Err(error) = carry(&ends, &stopping) {
                    eprintln!("a link of TUN devices stopped: {error:#}");
                }
            })
            .context("cannot start the thread of a link")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let (Ok(_), Some(thread)) = (self.stop.write(1), self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// A TUN device in the calling thread's network namespace.
fn open(name: &str) -> io::Result<File> {
    /// The part of `struct ifreq` that TUNSETIFF reads (netdevice(7)).
    #[repr(C)]
    struct Request {
        name: [u8; NAME_LENGTH],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = Request {
        name: [0; NAME_LENGTH],
        flags: libc::c_short::try_from(IFF_TUN | IFF_NO_PI).map_err(io::Error::other)?,
        rest: [0; 22],
    };
    if name.len() >= NAME_LENGTH {
        return Err(ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one struct ifreq, which is not larger than `Request`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    Errno::result(result)?;
    Ok(file)
}

fn carry(ends: &[File; 2], stop: &EventFd) -> Result<()> {
    let mut packet = [0; LONGEST_PACKET];
    loop {
        let mut waiting = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(ends[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(ends[1].as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result.context("cannot wait for packets")?,
        };
        if waiting[0].any().unwrap_or(true) {
            return Ok(());
        }
        for (from, to) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            carry_all(from, to, &mut packet)?;
        }
    }
}

fn carry_all(mut from: &File, mut to: &File, packet: &mut [u8]) -> Result<()> {
    loop {
        match from.read(packet) {
            // A device that is down takes no packets: they are lost.
            Ok(length) => drop(to.write(&packet[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot read from a TUN device"),
        }
    }
}
