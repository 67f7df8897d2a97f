//! ICMP errors of UDP sockets (RFC 3261 §18.4), by the address that each concerns: the kernel keeps them beside the datagrams.
//!
//! One rule: an error that concerns one peer is told of that peer, and harms no datagram to another.

use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, SockRef, Socket};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// Most errors taken at once; the kernel tells again of those that are left.
const MOST: usize = 64;
/// Lengths of `struct cmsghdr` and of the part of `struct sock_extended_err` that is read.
const HEADER: usize = size_of::<libc::cmsghdr>();
const ERROR: usize = 8;
/// Kinds of ICMP messages: destination unreachable and parameter problem, and the code of the former that is about size alone.
const UNREACHABLE: u8 = 3;
const TOO_LARGE: u8 = 4;
const PARAMETER: u8 = 12;
/// The same of ICMPv6.
const UNREACHABLE6: u8 = 1;
const PARAMETER6: u8 = 4;

/// Lets the kernel keep the errors of a socket with their addresses.
///
/// # Errors
/// Those of the system.
pub(crate) fn keep(socket: &Socket, ipv6: bool) -> io::Result<()> {
    // A socket of IPv6 may serve IPv4 peers too.
    set(socket, libc::IPPROTO_IP, libc::IP_RECVERR)?;
    if ipv6 { set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { Ok(()) }
}

fn set(socket: &Socket, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that lives for the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the errors that a socket keeps. Returns the peers that cannot be reached, IPv4 addresses never in their IPv6 form.
pub(crate) fn take(socket: &tokio::net::UdpSocket) -> Vec<SocketAddr> {
    let socket = SockRef::from(socket);
    let mut lost = vec![];
    for _ in 0..MOST {
        let mut peer = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let (mut control, mut datagram) = ([MaybeUninit::new(0_u8); 512], [MaybeUninit::new(0_u8); 1]);
        let mut buffers = [MaybeUninitSlice::new(&mut datagram)];
        let mut message =
            MsgHdrMut::new().with_addr(&mut peer).with_buffers(&mut buffers).with_control(&mut control);
        if socket.recvmsg(&mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT).is_err() {
            break;
        }
        let filled = message.control_len().min(512);
        // SAFETY: every octet was initialised above.
        let control = control.map(|octet| unsafe { octet.assume_init() });
        if let Some(peer) = peer.as_socket().filter(|_| is_unreachable(&control[..filled])) {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            if !lost.contains(&peer) {
                lost.push(peer);
            }
        }
    }
    lost
}

/// Returns true if control messages hold an error that says that its peer is out of reach. One about size or hops is passing (RFC
/// 3261 §18.4).
fn is_unreachable(mut control: &[u8]) -> bool {
    while let Some(header) = control.get(..HEADER) {
        let word = |at: usize| header.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
        let Some(length) = header.get(..size_of::<usize>()).and_then(|octets| octets.try_into().ok()) else {
            return false;
        };
        let length = usize::from_ne_bytes(length);
        let (level, kind) = (word(HEADER - 8), word(HEADER - 4));
        let of_errors = [
            (Some(libc::IPPROTO_IP), Some(libc::IP_RECVERR)),
            (Some(libc::IPPROTO_IPV6), Some(libc::IPV6_RECVERR)),
        ];
        // ee_errno, ee_origin, ee_type, ee_code.
        if let Some([_, _, _, _, origin, kind, code, _]) =
            control.get(HEADER..HEADER + ERROR).filter(|_| of_errors.contains(&(level, kind)))
        {
            return match *origin {
                libc::SO_EE_ORIGIN_ICMP => *kind == UNREACHABLE && *code != TOO_LARGE || *kind == PARAMETER,
                libc::SO_EE_ORIGIN_ICMP6 => matches!(*kind, UNREACHABLE6 | PARAMETER6),
                _ => false,
            };
        }
        let next = length.max(HEADER).next_multiple_of(size_of::<usize>());
        control = control.get(next..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_unreachable;

    fn control(level: i32, kind: i32, error: [u8; 4]) -> Vec<u8> {
        let [origin, icmp, code, _] = error;
        let mut octets = 48_usize.to_ne_bytes().to_vec();
        octets.extend(level.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend([111, 0, 0, 0, origin, icmp, code, 0]);
        octets.resize(48, 0);
        octets
    }

    #[test]
    fn b5_errors_about_size_and_hops_pass() {
        let (ip, ip6) = ((libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        for ((level, kind), error, expected) in [
            (ip, [2, 3, 3, 0], true),
            (ip, [2, 3, 1, 0], true),
            (ip, [2, 3, 4, 0], false),
            (ip, [2, 11, 0, 0], false),
            (ip, [2, 12, 0, 0], true),
            (ip, [1, 3, 3, 0], false),
            (ip6, [3, 1, 4, 0], true),
            (ip6, [3, 2, 0, 0], false),
            (ip6, [3, 4, 1, 0], true),
            ((libc::SOL_SOCKET, libc::IP_RECVERR), [2, 3, 3, 0], false),
        ] {
            let octets = control(level, kind, error);
            assert_eq!(is_unreachable(&octets), expected, "{level} {kind} {error:?}");
            let second = [control(libc::SOL_SOCKET, 29, [0; 4]), octets].concat();
            assert_eq!(is_unreachable(&second), expected, "after another one");
        }
        assert!(!is_unreachable(&[]) && !is_unreachable(&[0; 20]));
    }
}
