//! Headers that not every packet has: fragments, options of IPv4, extension headers of IPv6.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Family, Pod, Question, patiently, sandboxed, stretched};
use socket2::{Domain, SockAddr, Socket, Type};

use super::scene::{FAMILIES, Kind, PROTOCOLS, Protocol, Scene, Service, put};

const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn fragmented_datagrams_reach_their_backend_whole() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let near = scene.pods(1)?;
        let far = scene.remote_pod("far")?;
        let services = [Service::new("near", 10), Service::new("far", 20)];
        scene.write(&services[0], &[(&near[0], "node-a")])?;
        scene.write(&services[1], &[(&far, "node-b")])?;
        let vm = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        for client in [scene.outside.machine(), &vm] {
            for service in &services {
                for kind in Kind::ALL {
                    for family in FAMILIES {
                        let to = service.at(kind, family, scene.outside.node_address(family));
                        for bytes in [1, 4_000, 20_000] {
                            let question = Question::to(to).of_length(bytes);
                            let answer = put(client, question, Protocol::Udp);
                            let answer = answer.with_context(|| {
                                format!("{bytes} bytes from {} to {to}", client.name())
                            })?;
                            let pods = [near[0].name(), far.name()];
                            ensure!(pods.contains(&&*answer.name));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

/// An option of a socket, which its packets carry in a header.
#[derive(Clone, Copy, Debug)]
struct HeaderOption {
    family: Family,
    name: &'static str,
    level: i32,
    number: i32,
    value: &'static [u8],
}

/// The first byte of an IPv6 header is the next header's number, which the kernel fills in; the second one its length.
const OPTIONS: [HeaderOption; 5] = [
    HeaderOption {
        family: Family::IPv4,
        name: "three no-operations and the end of options (RFC 791)",
        level: libc::IPPROTO_IP,
        number: libc::IP_OPTIONS,
        value: &[1, 1, 1, 0],
    },
    HeaderOption {
        family: Family::IPv4,
        name: "the most options: 40 bytes of no-operations",
        level: libc::IPPROTO_IP,
        number: libc::IP_OPTIONS,
        value: &[1; 40],
    },
    HeaderOption {
        family: Family::IPv6,
        name: "hop-by-hop options with padding (RFC 8200)",
        level: libc::IPPROTO_IPV6,
        number: libc::IPV6_HOPOPTS,
        value: &[0, 0, 1, 4, 0, 0, 0, 0],
    },
    HeaderOption {
        family: Family::IPv6,
        name: "destination options with padding",
        level: libc::IPPROTO_IPV6,
        number: libc::IPV6_DSTOPTS,
        value: &[0, 0, 1, 4, 0, 0, 0, 0],
    },
    HeaderOption {
        family: Family::IPv6,
        name: "an experimental destination option (RFC 4727), which receivers skip",
        level: libc::IPPROTO_IPV6,
        number: libc::IPV6_DSTOPTS,
        value: &[
            0, 2, 0x1e, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    },
];

fn set(socket: impl AsFd, option: HeaderOption) -> io::Result<()> {
    let length = libc::socklen_t::try_from(option.value.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads that many bytes of the value.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            option.level,
            option.number,
            option.value.as_ptr().cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks with these options, and a question of this many bytes over UDP; the first word of the answer.
fn ask_with(
    client: &Pod,
    options: &[HeaderOption],
    to: SocketAddr,
    protocol: Protocol,
    bytes: usize,
) -> Result<String> {
    let answer = client.enter(|| {
        let mut answer = vec![0; 256 + bytes];
        let length = match protocol {
            Protocol::Tcp => {
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
                options
                    .iter()
                    .try_for_each(|option| set(&socket, *option))?;
                socket.connect_timeout(&SockAddr::from(to), stretched(LIMIT))?;
                let mut stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(stretched(LIMIT)))?;
                patiently(LIMIT, || stream.read(&mut answer))?
            }
            Protocol::Udp => {
                let any: IpAddr = match to {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                options
                    .iter()
                    .try_for_each(|option| set(&socket, *option))?;
                socket.set_read_timeout(Some(stretched(LIMIT)))?;
                socket.connect(to)?;
                socket.send(&vec![b'?'; bytes])?;
                patiently(LIMIT, || socket.recv(&mut answer))?
            }
        };
        answer.truncate(length);
        io::Result::Ok(answer)
    })??;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn options_and_extension_headers_are_no_hindrance() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        let ask = |options: &[HeaderOption], protocol, bytes| {
            let family = options[0].family;
            for kind in Kind::ALL {
                let to = service.at(kind, family, scene.outside.node_address(family));
                let names: Vec<&str> = options.iter().map(|option| option.name).collect();
                let name = ask_with(machine, options, to, protocol, bytes)
                    .with_context(|| format!("{names:?} to {to} over {protocol:?}, {bytes}"))?;
                ensure!(name == pods[0].name(), "{name}");
            }
            Ok(())
        };
        for protocol in PROTOCOLS {
            for option in OPTIONS {
                ask(&[option], protocol, 1)?;
            }
            ask(&[OPTIONS[2], OPTIONS[4]], protocol, 1)?;
        }
        // Every fragment has the headers, and the first one the ports.
        ask(&[OPTIONS[1]], Protocol::Udp, 4_000)?;
        ask(&[OPTIONS[2], OPTIONS[4]], Protocol::Udp, 4_000)
    });
}
