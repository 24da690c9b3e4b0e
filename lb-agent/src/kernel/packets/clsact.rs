//! The program at a device's ingress by a filter of the queueing discipline clsact: on kernels before 6.6, which have no tcx.
//!
//! A filter needs no pin: it stays with its device.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_bindings::tc::{OpNewtfilterDo, Request, Tcmsg};
use netlink_bindings::traits::NetlinkRequest;
use netlink_socket2::NetlinkSocket;

/// TC_H_CLSACT of linux/pkt_sched.h: parent and handle of the queueing discipline.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS).
const INGRESS: u32 = 0xffff_fff2;
/// ETH_P_ALL, in network byte order.
const ALL: u32 = 0x0003_u16.to_be() as u32;
/// The kernel runs filters in the order of their priorities, so ours comes late. By it the filter is recognised as ours.
const PRIORITY: u32 = 0xc1b0;
const HANDLE: u32 = 1;
/// TCA_BPF_FLAG_ACT_DIRECT: the program's return value is the verdict.
const DIRECT: u32 = 1;
const NAME: &CStr = c"socklb";

/// Attaches the program, in place of the one that our filter has. Returns whether there was no such filter.
pub fn attach(device: u32, program: BorrowedFd<'_>) -> io::Result<bool> {
    let mut socket = NetlinkSocket::new();
    let discipline = Tcmsg {
        handle: CLSACT_HANDLE,
        parent: CLSACT,
        ..of(device)?
    };
    let mut request = Request::new()
        .set_create()
        .set_excl()
        .op_newqdisc_do(&discipline);
    request.encode().push_kind(c"clsact");
    match ask(&mut socket, &request) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let filter = filter(device)?;
    let mut request = Request::new()
        .set_create()
        .set_excl()
        .op_newtfilter_do(&filter);
    push(&mut request, program);
    match ask(&mut socket, &request) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.map(|()| true),
    }
    let mut request = Request::new().set_create().op_newtfilter_do(&filter);
    push(&mut request, program);
    ask(&mut socket, &request).map(|()| false)
}

/// Removes our filter. Returns whether there was one.
pub fn detach(device: u32) -> io::Result<bool> {
    let request = Request::new().op_deltfilter_do(&filter(device)?);
    match ask(&mut NetlinkSocket::new(), &request) {
        // EINVAL: the device has no clsact.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

fn push(request: &mut OpNewtfilterDo<'_>, program: BorrowedFd<'_>) {
    let number = u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX);
    request
        .encode()
        .nested_options_bpf()
        .push_fd(number)
        .push_name(NAME)
        .push_flags(DIRECT);
}

fn ask(socket: &mut NetlinkSocket, request: &impl NetlinkRequest) -> io::Result<()> {
    Ok(socket.request(request)?.recv_ack()?)
}

fn of(device: u32) -> io::Result<Tcmsg> {
    let ifindex = i32::try_from(device).map_err(io::Error::other)?;
    Ok(Tcmsg {
        ifindex,
        ..Tcmsg::default()
    })
}

fn filter(device: u32) -> io::Result<Tcmsg> {
    Ok(Tcmsg {
        handle: HANDLE,
        parent: INGRESS,
        info: PRIORITY << 16 | ALL,
        ..of(device)?
    })
}
