//! UDP in batches, so that the load costs its core less than the relay: `sendmmsg` and `recvmmsg` over buffers that are made once.
//! IPv4 alone: the load speaks on loopback.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;
use std::time::Duration;

/// Datagrams in one batch.
pub const BATCH: usize = 64;
/// Octets of a buffer: a packet of 20 ms of G.711, protected, and to spare. What is longer is cut, and is then not what was sent.
pub const BUFFER: usize = 512;

/// Buffers with the kernel's descriptions of them.
struct Places {
    buffers: Box<[[u8; BUFFER]; BATCH]>,
    names: Box<[libc::sockaddr_in; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Places {
    /// Each header points at its vector, each vector at the whole of its buffer; none names an address.
    fn new() -> Places {
        // SAFETY: all three are plain old data for which all zeros is a valid value.
        let (name, vector, header): (libc::sockaddr_in, libc::iovec, libc::mmsghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let mut places = Places {
            buffers: Box::new([[0; BUFFER]; BATCH]),
            names: Box::new([name; BATCH]),
            vectors: Box::new([vector; BATCH]),
            headers: Box::new([header; BATCH]),
        };
        let headers = places.headers.iter_mut().zip(places.vectors.iter_mut());
        for ((header, vector), buffer) in headers.zip(places.buffers.iter_mut()) {
            (vector.iov_base, vector.iov_len) = (buffer.as_mut_ptr().cast(), BUFFER);
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (vector, 1);
        }
        places
    }
}

/// Packets that leave together by one socket.
pub struct Outward {
    places: Places,
    filled: usize,
}

impl Outward {
    /// Empty.
    pub fn new() -> Outward {
        Outward { places: Places::new(), filled: 0 }
    }

    /// There is no place for another one.
    pub fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    /// Puts a packet for `to` behind the others, if there is a place: `write` fills the buffer and gives the length, or fails and
    /// adds nothing.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn push<E>(
        &mut self,
        to: SocketAddrV4,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let Places { buffers, names, vectors, headers } = &mut self.places;
        let Some(buffer) = buffers.get_mut(self.filled) else { return Ok(()) };
        let length = write(buffer)?;
        let name = &mut names[self.filled];
        name.sin_family = libc::AF_INET as libc::sa_family_t;
        name.sin_port = to.port().to_be();
        name.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
        vectors[self.filled].iov_len = length.min(BUFFER);
        let header = &mut headers[self.filled].msg_hdr;
        header.msg_name = std::ptr::from_mut(name).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        self.filled += 1;
        Ok(())
    }

    /// Sends what is there; gives how many went. A packet that the kernel refuses is passed over.
    pub fn send(&mut self, socket: RawFd) -> usize {
        let (mut sent, mut from, filled) = (0, 0, std::mem::take(&mut self.filled));
        while let Some(rest) = self.places.headers.get_mut(from..filled).filter(|rest| !rest.is_empty()) {
            // SAFETY: each header points at the vector and the name of its place and each vector at a buffer of self, within its
            // length; all are boxed, and only read by the call.
            let gone = unsafe {
                libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as _, libc::MSG_DONTWAIT as _)
            };
            let gone = usize::try_from(gone).unwrap_or(0);
            sent += gone;
            from += gone.max(1);
        }
        sent
    }
}

/// Packets that came together at one socket. Who sent them is not asked: what they say of themselves is checked.
pub struct Inward(Places);

impl Inward {
    /// Room for a batch.
    pub fn new() -> Inward {
        Inward(Places::new())
    }

    /// Reads what waits at a socket; gives how many packets.
    pub fn receive(&mut self, socket: RawFd) -> usize {
        let headers = &mut self.0.headers;
        // SAFETY: each header points at the vector of its place and each vector at BUFFER octets of self; all are boxed, and
        // borrowed mutably for the call.
        let read = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(read).unwrap_or(0)
    }

    /// One of those that were read.
    pub fn packet(&mut self, place: usize) -> &mut [u8] {
        let length = self.0.headers[place].msg_len as usize;
        &mut self.0.buffers[place][..length.min(BUFFER)]
    }
}

/// Waits until one of these can be read, but no longer than that.
pub fn wait(sockets: &[RawFd], longest: Duration) {
    let mut watched: Vec<libc::pollfd> =
        sockets.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let longest = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the entries live for the call. That it was interrupted is as good as that something came.
    let _ = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as _, longest) };
}

/// The address, which must be one of IPv4.
pub fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    if let SocketAddr::V4(v4) = address { Some(v4) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    #[test]
    fn packets_come_as_they_were_sent_and_what_cannot_go_holds_up_nothing() {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = v4(b.local_addr().unwrap()).unwrap();
        let (mut out, mut batch) = (Outward::new(), Inward::new());
        for n in 0..BATCH as u8 {
            // A port of zero is nobody's.
            let to = if n == 3 { SocketAddrV4::new(*to.ip(), 0) } else { to };
            let written: Result<(), Infallible> = out.push(to, |buffer| {
                buffer[..100].fill(n);
                Ok(100 + usize::from(n))
            });
            written.unwrap();
        }
        assert!(out.is_full());
        assert_eq!(out.push(to, |_| Err(())), Ok(()), "there is no place");
        assert_eq!(out.send(a.as_raw_fd()), BATCH - 1);
        assert_eq!(out.send(a.as_raw_fd()), 0, "what went is gone");
        wait(&[b.as_raw_fd()], Duration::from_secs(5));
        assert_eq!(batch.receive(b.as_raw_fd()), BATCH - 1);
        for (place, n) in (0..BATCH as u8).filter(|n| *n != 3).enumerate() {
            let packet = batch.packet(place);
            assert_eq!((packet.len(), &packet[..100]), (100 + usize::from(n), &[n; 100][..]));
        }
        assert_eq!(batch.receive(b.as_raw_fd()), 0);
    }

    #[test]
    fn a_wait_ends_by_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        wait(&[socket.as_raw_fd()], Duration::from_millis(1));
    }
}
