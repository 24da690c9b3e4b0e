//! Frames of netlink messages (struct nlmsghdr).

use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::traits::{NetlinkRequest, Protocol};

/// NLM_F_REQUEST, NLM_F_ACK.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

/// NLM_F_DUMP_INTR.
const INTERRUPTED: u16 = 0x10;

const HEADER: usize = 16;

/// A message in a received buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    pub kind: u16,
    pub sequence: u32,
    /// The port of the socket whose request caused it.
    pub sender: u32,
    /// The tables changed during the dump.
    pub is_interrupted: bool,
    pub content: Frame<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Message(&'a [u8]),
    /// An acknowledgement, the end of a dump, or an error: its number, else 0.
    End(i32),
}

/// The header of a request.
pub fn header<R: NetlinkRequest>(request: &R, sequence: u32) -> Vec<u8> {
    let kind = match request.protocol() {
        Protocol::Raw { request_type, .. } => request_type,
        Protocol::Generic(_) => 0,
    };
    let header = Nlmsghdr {
        len: u32::try_from(HEADER + request.payload().len()).unwrap_or(u32::MAX),
        r#type: kind,
        flags: request.flags() | REQUEST | ACKNOWLEDGE,
        seq: sequence,
        pid: 0,
    };
    header.as_slice().to_vec()
}

/// The messages of a buffer, up to the first broken one.
pub fn frames(buffer: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let payload = rest.get(HEADER..length)?;
        let header = Nlmsghdr::new_from_slice(rest.get(..HEADER)?)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let content = match i32::from(header.r#type) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
                Frame::End(code.unwrap_or_default().saturating_neg())
            }
            _ => Frame::Message(payload),
        };
        Some(Received {
            kind: header.r#type,
            sequence: header.seq,
            sender: header.pid,
            is_interrupted: header.flags & INTERRUPTED != 0,
            content,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap_or_default();
        let header = Nlmsghdr {
            len: length,
            r#type: u16::try_from(kind).unwrap_or_default(),
            flags: INTERRUPTED,
            seq: 7,
            pid: 9,
        };
        let mut bytes = header.as_slice().to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_are_aligned_and_errors_are_positive() {
        let mut buffer = message(0x0a00, b"abcde");
        buffer.extend(message(libc::NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()));
        buffer.extend(message(libc::NLMSG_DONE, &[]));
        let found: Vec<_> = frames(&buffer).collect();
        let contents: Vec<_> = found.iter().map(|frame| frame.content).collect();
        assert_eq!(
            contents,
            [
                Frame::Message(b"abcde"),
                Frame::End(libc::EPERM),
                Frame::End(0)
            ]
        );
        assert!(found.iter().all(|frame| frame.is_interrupted));
        assert_eq!((found[0].sequence, found[0].sender), (7, 9));
    }

    #[test]
    fn a_broken_message_ends_the_buffer() {
        let whole = message(0x0a00, b"abcd");
        for length in 0..whole.len() {
            assert_eq!(frames(&whole[..length]).count(), 0);
        }
        let mut short = whole.clone();
        short[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(frames(&short).count(), 0);
    }
}
