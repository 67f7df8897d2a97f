//! UDP in batches: sockets made ready for media, `recvmmsg` and `sendmmsg` over buffers that are made once.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::RawFd;

/// Datagrams in one batch.
pub const BATCH: usize = 64;
/// Largest datagram that is taken; media stays below 1,500.
const LARGEST: usize = 2_048;
/// A buffer: a datagram and room for SRTP to grow into.
pub const BUFFER: usize = LARGEST + 64;
const _: () = assert!(BUFFER >= relay::session::DEPARTURE);
/// Expedited forwarding (RFC 4594 §4.1, RFC 8837).
const TOS: u32 = 0xb8;

/// A non-blocking socket marked for media.
///
/// # Errors
/// Those of the system.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Marking is a wish: not every container may.
    let _ = if address.is_ipv4() { socket.set_tos_v4(TOS) } else { socket.set_tclass_v6(TOS) };
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Both families by one socket (RFC 3493 §5.3), whatever the host's default is.
        socket.set_only_v6(false)?;
        let _ = socket.set_tos_v4(TOS);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A socket address in the kernel's form, `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; 28]);

impl Name {
    fn write(&mut self, address: SocketAddr) -> u32 {
        let name = &mut self.0;
        *name = [0; 28];
        name[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                name[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                name[8..24].copy_from_slice(&v6.ip().octets());
                name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                28
            }
        }
    }

    fn read(&self) -> Option<SocketAddr> {
        let name = &self.0;
        let port = u16::from_be_bytes([name[2], name[3]]);
        match i32::from(u16::from_ne_bytes([name[0], name[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(<[u8; 4]>::try_from(&name[4..8]).ok()?);
                Some(SocketAddr::new(IpAddr::V4(ip), port))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::try_from(&name[8..24]).ok()?);
                if let Some(ip) = ip.to_ipv4_mapped() {
                    return Some(SocketAddr::new(IpAddr::V4(ip), port));
                }
                let scope = u32::from_ne_bytes(<[u8; 4]>::try_from(&name[24..28]).ok()?);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
            }
            _ => None,
        }
    }
}

/// The buffers of one thread with the kernel's descriptions of them: one set for what comes in, whose headers are written
/// once and only mended where the kernel wrote, and one for what goes out.
pub struct Batch {
    buffers: Box<[[u8; BUFFER]; BATCH]>,
    inward: Side,
    outward: Side,
    /// The sockets are of IPv6: an address of IPv4 is written as one that is mapped into it (RFC 4291 §2.5.5.2).
    mapped: bool,
}

struct Side {
    names: Box<[Name; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Default for Side {
    fn default() -> Side {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: mmsghdr is plain old data for which all zeros is a valid value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let mut side = Side {
            names: Box::new([Name([0; 28]); BATCH]),
            vectors: Box::new([vector; BATCH]),
            headers: Box::new([header; BATCH]),
        };
        let places = side.headers.iter_mut().zip(side.vectors.iter_mut()).zip(side.names.iter_mut());
        for ((header, vector), name) in places {
            header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = name.0.len() as u32;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        side
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new(false)
    }
}

impl Batch {
    /// For sockets of IPv6, which speak IPv4 too if they are bound to no address, or for sockets of IPv4.
    #[must_use]
    pub fn new(ipv6: bool) -> Batch {
        let mut batch = Batch {
            buffers: Box::new([[0; BUFFER]; BATCH]),
            inward: Side::default(),
            outward: Side::default(),
            mapped: ipv6,
        };
        for (vector, buffer) in batch.inward.vectors.iter_mut().zip(batch.buffers.iter_mut()) {
            (vector.iov_base, vector.iov_len) = (buffer.as_mut_ptr().cast(), LARGEST);
        }
        batch
    }

    /// An address as these sockets want it.
    #[must_use]
    pub fn name(&self, address: SocketAddr) -> SocketAddr {
        named(address, self.mapped)
    }
}

fn named(address: SocketAddr, mapped: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if mapped => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        other => other,
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// The buffer of a place.
    pub fn buffer(&mut self, place: usize) -> &mut [u8] {
        self.buffers.get_mut(place).map_or(&mut [], |buffer| &mut buffer[..])
    }

    /// Reads what waits into the places from `place` on; gives how many. Nothing waiting is zero.
    pub fn receive(&mut self, socket: RawFd, place: usize, most: usize) -> usize {
        let Some(headers) = self.inward.headers.get_mut(place..(place + most).min(BATCH)) else { return 0 };
        // SAFETY: each header points at the vector and the name of its place and each vector at LARGEST octets of the
        // buffer of its place; all are boxed, so they stay where they are, and are borrowed mutably for the call.
        let read = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(read).unwrap_or(0)
    }

    /// Who sent the datagram at a place that was read, and its octets; `None` when it was cut short.
    pub fn read(&mut self, place: usize) -> Option<(SocketAddr, usize)> {
        let header = self.inward.headers.get_mut(place)?;
        header.msg_hdr.msg_namelen = 28;
        let cut = std::mem::take(&mut header.msg_hdr.msg_flags) & libc::MSG_TRUNC != 0;
        let length = header.msg_len as usize;
        let from = self.inward.names.get(place)?.read()?;
        (!cut).then_some((from, length))
    }

    /// Sends one datagram for each of the `(place, address, length)`, in order, by one socket; gives how many went.
    pub fn send(&mut self, socket: RawFd, out: &[(usize, SocketAddr, usize)]) -> usize {
        let mapped = self.mapped;
        let Side { names, vectors, headers } = &mut self.outward;
        let places = headers.iter_mut().zip(vectors.iter_mut()).zip(names.iter_mut());
        let mut count = 0;
        for (((header, vector), name), (place, address, length)) in places.zip(out) {
            let Some(buffer) = self.buffers.get_mut(*place) else { break };
            header.msg_hdr.msg_namelen = name.write(named(*address, mapped));
            (vector.iov_base, vector.iov_len) = (buffer.as_mut_ptr().cast(), (*length).min(BUFFER));
            count += 1;
        }
        let (mut sent, mut from) = (0, 0);
        while let Some(rest) = headers.get_mut(from..count).filter(|rest| !rest.is_empty()) {
            // SAFETY: each header points at the vector and the name of its place and each vector at a buffer of self, within
            // its length; all are boxed, and only read by the call.
            let gone = unsafe {
                libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT as _)
            };
            // An error concerns the first one only: it is lost, as datagrams may be.
            let gone = usize::try_from(gone).unwrap_or(0);
            sent += gone;
            from += gone.max(1);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn datagrams_go_and_come_in_batches_over_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = (bind(address.parse().unwrap()).unwrap(), bind(address.parse().unwrap()).unwrap());
            let to = b.local_addr().unwrap();
            let mut batch = Batch::default();
            for place in 0..3 {
                batch.buffer(place)[..4].copy_from_slice(&[place as u8; 4]);
            }
            assert_eq!(batch.send(a.as_raw_fd(), &[(2, to, 4), (0, to, 2), (1, to, 3)]), 3);
            assert_eq!(batch.receive(b.as_raw_fd(), 10, 32), 3);
            for (place, fill, length) in [(10, 2u8, 4), (11, 0, 2), (12, 1, 3)] {
                assert_eq!(batch.read(place), Some((a.local_addr().unwrap(), length)));
                assert_eq!(batch.buffer(place)[..length], vec![fill; length]);
            }
            assert_eq!(batch.receive(b.as_raw_fd(), 0, 32), 0);
        }
    }

    #[test]
    fn a_socket_of_no_address_speaks_both_families() {
        let both = bind("[::]:0".parse().unwrap()).unwrap();
        let port = both.local_addr().unwrap().port();
        let mut batch = Batch::new(true);
        for ip in ["127.0.0.1", "::1"] {
            let peer = UdpSocket::bind((ip, 0)).unwrap();
            peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            let (here, there) = (peer.local_addr().unwrap(), SocketAddr::new(ip.parse().unwrap(), port));
            peer.send_to(&[7; 5], there).unwrap();
            let mut heard = [0; 8];
            while batch.receive(both.as_raw_fd(), 0, 1) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(batch.read(0), Some((here, 5)), "as the peer calls itself");
            assert_eq!(batch.send(both.as_raw_fd(), &[(0, here, 5)]), 1);
            assert_eq!(peer.recv_from(&mut heard).unwrap(), (5, there));
            both.send_to(&[1; 2], batch.name(here)).unwrap();
            assert_eq!(peer.recv_from(&mut heard).unwrap(), (2, there));
        }
    }

    #[test]
    fn oversized_datagrams_are_dropped_and_unsendable_ones_do_not_block_the_rest() {
        let (a, b) =
            (bind("127.0.0.1:0".parse().unwrap()).unwrap(), bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let to = b.local_addr().unwrap();
        a.send_to(&[1; 4_000], to).unwrap();
        let mut batch = Batch::default();
        assert_eq!(batch.receive(b.as_raw_fd(), 0, 1), 1);
        assert_eq!(batch.read(0), None);
        let nowhere = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(batch.send(a.as_raw_fd(), &[(0, nowhere, 5), (1, to, 5)]), 1);
        assert_eq!(batch.receive(b.as_raw_fd(), 0, 2), 1);
    }
}
