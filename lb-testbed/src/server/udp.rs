//! The UDP server's loop. It answers from the address that was asked, since a connected client ignores answers from other
//! addresses.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc::in6_pktinfo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg,
};

use super::{Greeting, ServerTask};

/// As long as a datagram can be.
const LONGEST_QUESTION: usize = 65_535;

pub(super) fn serve(task: &ServerTask) -> Result<()> {
    let stop = task.stop_fd();
    let mut question = vec![0; LONGEST_QUESTION];
    loop {
        let mut waiting = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(task.socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result.context("cannot wait for datagrams")?,
        };
        if waiting[0].any().unwrap_or(true) {
            return Ok(());
        }
        while answer_one(task, &mut question) {}
    }
}

/// False when there was no datagram.
fn answer_one(task: &ServerTask, question: &mut [u8]) -> bool {
    let fd = task.socket.as_raw_fd();
    let mut parts = [IoSliceMut::new(question)];
    let mut control = nix::cmsg_space!(in6_pktinfo);
    let (client, asked, length) =
        match recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => (
                message.address,
                asked_address(message.cmsgs()),
                message.bytes,
            ),
            // The error of an earlier answer.
            Err(error) => return !matches!(error, Errno::EAGAIN),
        };
    let Some(client) = client else { return true };
    let source: Vec<_> = asked.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    let asked = asked.map(|info| Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
    let greeting = task.greeting(asked, Some(SocketAddr::V6(client.into())));
    let echoed = match task.greeting {
        Greeting::NameAndClient => length,
        Greeting::Name | Greeting::Address => 0,
    };
    let answer = [
        IoSlice::new(greeting.as_bytes()),
        IoSlice::new(&question[..echoed]),
    ];
    task.count();
    // The client notices a missing answer.
    let _ = sendmsg(fd, &answer, &source, MsgFlags::empty(), Some(&client));
    true
}

fn asked_address(
    messages: nix::Result<impl Iterator<Item = ControlMessageOwned>>,
) -> Option<in6_pktinfo> {
    messages.ok()?.find_map(|message| match message {
        // The kernel picks the device by itself.
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(in6_pktinfo {
            ipi6_ifindex: 0,
            ..info
        }),
        _ => None,
    })
}
