//! Waiting for sockets and for control: epoll and an eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Events taken at once: what a thousand calls bring within two milliseconds.
const EVENTS: usize = 256;

/// An epoll instance; each descriptor in it has a number of the caller's.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    numbers: Vec<u64>,
}

impl Poll {
    /// Empty.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new() -> io::Result<Poll> {
        // SAFETY: takes no pointer; a negative value is an error and is not owned.
        let epoll = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Poll { epoll, numbers: Vec::with_capacity(EVENTS) })
    }

    /// Watches a descriptor for input, told once each time that some comes: who takes it up reads all of it. (StateUpdate as long as
    /// there is some, the kernel would look at every socket twice.) It leaves by being closed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn add(&self, fd: RawFd, number: u64) -> io::Result<()> {
        self.watch(fd, number, libc::EPOLLIN | libc::EPOLLET)
    }

    /// Watches a descriptor, told as long as there is something to read: for sockets of which one packet is read at a time. The
    /// second look of the kernel costs less than a second read.
    ///
    /// # Errors
    /// Those of the system.
    pub fn add_level(&self, fd: RawFd, number: u64) -> io::Result<()> {
        self.watch(fd, number, libc::EPOLLIN)
    }

    fn watch(&self, fd: RawFd, number: u64, events: libc::c_int) -> io::Result<()> {
        let events = events as u32;
        let mut event = libc::epoll_event { events, u64: number };
        // SAFETY: `event` lives for the call, which copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })
            .map(drop)
    }

    /// The last wait gave as many as it could: there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.numbers.len() == EVENTS
    }

    /// Waits at most so long for input; gives the numbers of those that have some.
    pub fn wait(&mut self, timeout_ms: u64) -> &[u64] {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        // SAFETY: the array has room for the EVENTS entries named and lives for the call.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as libc::c_int, timeout)
        };
        self.numbers.clear();
        // Interrupted is as good as nothing.
        self.numbers.extend(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
        &self.numbers
    }
}

/// Wakes a [`Poll`] from another thread; clones wake the same.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new eventfd.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new() -> io::Result<Waker> {
        // SAFETY: takes no pointer; a negative value is an error and is not owned.
        let fd = own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Waker(Arc::new(fd)))
    }

    /// The descriptor to watch.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes it readable.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight octets that live for the call. A full counter means that it is readable already.
        let _ = unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it quiet again.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight octets that live for the call.
        let _ = unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

fn own(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call that gave it succeeded, so it is open and nobody else's.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_wakes_until_it_is_cleared() {
        let (mut poll, waker) = (Poll::new().unwrap(), Waker::new().unwrap());
        poll.add(waker.fd(), 7).unwrap();
        assert!(poll.wait(0).is_empty());
        let other = waker.clone();
        std::thread::spawn(move || other.wake()).join().unwrap();
        assert_eq!(poll.wait(5_000), [7]);
        assert!(poll.wait(0).is_empty(), "told once");
        waker.wake();
        assert_eq!(poll.wait(5_000), [7], "and again when it is woken again");
        waker.clear();
        assert!(poll.wait(0).is_empty());
    }
}
