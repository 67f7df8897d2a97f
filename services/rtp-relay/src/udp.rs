//! UDP in batches: sockets made ready for media, `recvmmsg` and `sendmmsg` over buffers that are made once.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams in one batch.
pub const BATCH: usize = 64;
/// Largest datagram that is taken; media stays below 1,500.
const LARGEST: usize = 2_048;
/// A buffer: a datagram and room for SRTP to grow into.
pub const BUFFER: usize = LARGEST + 64;
const _: () = assert!(BUFFER >= relay::session::MAX_TRANSMIT);
/// Expedited forwarding (RFC 4594 §4.1, RFC 8837).
const TOS: u32 = 0xb8;
/// Octets that may wait at the port that all ICE ends of a thread share: what 2,000 calls say in 10 ms.
const SHARED: usize = 4 << 20;
/// Errors of other packets that a call may meet before its own turn: the kernel tells each once.
const ERRORS: usize = 4;

/// A non-blocking socket marked for media.
///
/// # Errors
/// Those of the system.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    // Both flags with the call that makes it: a call has up to four sockets.
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::UDP))?;
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

/// Lets a socket take the load of many calls, as far as the system allows.
pub fn widen(socket: &UdpSocket) {
    let size = SHARED as libc::c_int;
    let force = |option| {
        // SAFETY: the value is an int that lives for the call.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(&size).cast(),
                std::mem::size_of_val(&size) as libc::socklen_t,
            )
        }
    };
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
    if force(libc::SO_RCVBUFFORCE) != 0 {
        force(libc::SO_RCVBUF);
    }
}

/// Lets the kernel hear and answer nobody but `peer` at a socket; `None`: anybody again.
///
/// # Errors
/// Those of the system: there is no route.
pub fn connect(socket: &UdpSocket, peer: Option<SocketAddr>) -> io::Result<()> {
    let mut name = Name([0; 28]);
    // AF_UNSPEC is zero.
    let length = peer.map_or(16, |peer| name.write(peer));
    // SAFETY: the name holds `length` octets and lives for the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), name.0.as_ptr().cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Errors that concern an earlier packet (the peer's port was closed when it came, RFC 1122 §4.1.3.3), not this call.
fn of_another_packet() -> bool {
    let error = io::Error::last_os_error().raw_os_error();
    matches!(
        error,
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EINTR)
    )
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
        for _ in 0..ERRORS {
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
            match usize::try_from(read) {
                Ok(read) => return read,
                // Packets may wait behind it, and nobody tells of them again.
                Err(_) if of_another_packet() => {}
                Err(_) => return 0,
            }
        }
        0
    }

    /// Reads one datagram of a connected socket into a place; gives its length, 0 when it was cut short. `None`: nothing waits.
    /// Half as dear as [`Batch::receive`], which asks for a second one and for the address.
    pub fn receive_one(&mut self, socket: RawFd, place: usize) -> Option<usize> {
        let buffer = self.buffers.get_mut(place)?;
        for _ in 0..ERRORS {
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            // SAFETY: the buffer has LARGEST octets and is borrowed mutably for the call.
            let read = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), LARGEST, flags) };
            match usize::try_from(read) {
                Ok(length) if length <= LARGEST => return Some(length),
                Ok(_) => return Some(0),
                Err(_) if of_another_packet() => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Returns the sender of a datagram that was read, and its octets; `None` when it was cut short.
    pub fn read(&mut self, place: usize) -> Option<(SocketAddr, usize)> {
        let header = self.inward.headers.get_mut(place)?;
        header.msg_hdr.msg_namelen = 28;
        let cut = std::mem::take(&mut header.msg_hdr.msg_flags) & libc::MSG_TRUNC != 0;
        let length = header.msg_len as usize;
        let from = self.inward.names.get(place)?.read()?;
        (!cut).then_some((from, length))
    }

    /// Sends the datagram at a place, by a connected socket without naming the address; true when it went.
    pub fn send_one(&mut self, socket: RawFd, place: usize, to: Option<SocketAddr>, length: usize) -> bool {
        let Some(buffer) = self.buffers.get(place) else { return false };
        let length = length.min(BUFFER);
        let mut name = Name([0; 28]);
        let (at, size) = match to {
            Some(address) => {
                let size = name.write(named(address, self.mapped));
                (name.0.as_ptr(), size)
            }
            None => (std::ptr::null(), 0),
        };
        for _ in 0..ERRORS {
            // SAFETY: the buffer has `length` octets and the name `size`, or is absent; both live for the call, which reads them.
            let sent = unsafe {
                libc::sendto(socket, buffer.as_ptr().cast(), length, libc::MSG_DONTWAIT, at.cast(), size)
            };
            if sent >= 0 {
                return true;
            }
            if !of_another_packet() {
                return false;
            }
        }
        false
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
            let mut batch = Batch::new(false);
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
    fn a_connected_socket_hears_its_peer_alone_until_it_is_let_go() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let at = |socket: &UdpSocket| socket.local_addr().unwrap();
            let [a, b, c] = [(); 3].map(|()| {
                // Bound by number, as the relay's are: a port that the kernel chose is given up with the peer.
                let chosen = at(&bind(address.parse().unwrap()).unwrap());
                bind(chosen).unwrap()
            });
            let mut batch = Batch::new(false);
            connect(&a, Some(at(&b))).unwrap();
            assert!(batch.send_one(b.as_raw_fd(), 0, Some(at(&a)), 3));
            c.send_to(b"stranger", at(&a)).unwrap();
            assert_eq!(batch.receive(a.as_raw_fd(), 0, 32), 1);
            assert_eq!(batch.read(0), Some((at(&b), 3)));
            assert!(batch.send_one(a.as_raw_fd(), 0, None, 5));
            assert_eq!(batch.receive(b.as_raw_fd(), 1, 32), 1);
            assert_eq!(batch.read(1), Some((at(&a), 5)));
            let before = at(&a);
            connect(&a, None).unwrap();
            assert_eq!(at(&a), before, "it keeps its port");
            c.send_to(b"somebody", at(&a)).unwrap();
            assert_eq!(batch.receive(a.as_raw_fd(), 0, 32), 1);
            assert_eq!(batch.read(0), Some((at(&c), 8)));
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
    fn a_peer_that_was_away_is_reached_when_it_is_back_and_heard_behind_the_error() {
        let (a, b) =
            (bind("127.0.0.1:0".parse().unwrap()).unwrap(), bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let peer = b.local_addr().unwrap();
        connect(&a, Some(peer)).unwrap();
        drop(b);
        let mut batch = Batch::new(false);
        assert!(batch.send_one(a.as_raw_fd(), 0, None, 3), "nobody is there: the kernel hears of it");
        let b = bind(peer).unwrap();
        assert!(batch.send_one(a.as_raw_fd(), 0, None, 4), "the error was the other packet's");
        assert_eq!(batch.receive(b.as_raw_fd(), 1, 1), 1);
        drop(b);
        assert!(batch.send_one(a.as_raw_fd(), 0, None, 3));
        let b = bind(peer).unwrap();
        b.send_to(b"back", a.local_addr().unwrap()).unwrap();
        assert_eq!(batch.receive(a.as_raw_fd(), 0, 8), 1, "behind the error waits a packet");
    }

    #[test]
    fn oversized_datagrams_are_dropped_and_unsendable_ones_do_not_block_the_rest() {
        let (a, b) =
            (bind("127.0.0.1:0".parse().unwrap()).unwrap(), bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let to = b.local_addr().unwrap();
        a.send_to(&[1; 4_000], to).unwrap();
        let mut batch = Batch::new(false);
        assert_eq!(batch.receive(b.as_raw_fd(), 0, 1), 1);
        assert_eq!(batch.read(0), None);
        let nowhere = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(batch.send(a.as_raw_fd(), &[(0, nowhere, 5), (1, to, 5)]), 1);
        assert_eq!(batch.receive(b.as_raw_fd(), 0, 2), 1);
    }
}
