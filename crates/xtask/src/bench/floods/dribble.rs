//! A flood of TCP connections that say an octet a second each, from ten addresses of loopback.

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use testkit::clock::Deadline;

/// Addresses, and connections of each.
const ADDRESSES: u8 = 10;
const CONNECTIONS: usize = 1_000;
/// First octets of a request that never comes to its end.
const REQUEST: &[u8] =
    b"OPTIONS sip:im.example.net SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.66:5070;branch=z9hG4bK";
/// Time for a connection to be taken: a listener that is full lets it wait.
const CONNECT: Duration = Duration::from_millis(100);
/// Descriptors for everything else.
const SPARE: u64 = 500;

/// A flood that runs.
pub struct Dribble {
    over: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Dribble {
    /// Begins it.
    ///
    /// # Errors
    /// This process may not open so many descriptors.
    pub fn start(to: SocketAddr) -> Result<Dribble> {
        let needed = u64::from(ADDRESSES) * CONNECTIONS as u64 + SPARE;
        let may = descriptors(needed);
        ensure!(may >= needed, "this process may open {may} files and needs {needed}: raise `ulimit -n`");
        let (over, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..ADDRESSES)
            .map(|number| {
                let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 101 + number));
                let (over, said) = (over.clone(), said.clone());
                std::thread::spawn(move || dribble(from, to, &over, &said))
            })
            .collect();
        Ok(Dribble { over, said, threads })
    }

    /// Ends it; gives how many octets were said.
    pub fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.said.load(Ordering::Relaxed)
    }
}

/// Raises the limit of open files as far as needed and allowed; gives what it is then.
fn descriptors(needed: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < needed {
            limit.rlim_cur = needed.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    limit.rlim_cur
}

fn dribble(from: IpAddr, to: SocketAddr, over: &AtomicBool, said: &AtomicU64) {
    let mut open: Vec<(TcpStream, usize)> = Vec::with_capacity(CONNECTIONS);
    while !over.load(Ordering::Relaxed) {
        let second = Deadline::after(Duration::from_secs(1));
        open.retain_mut(|(stream, at)| {
            let octet = REQUEST.get(*at % REQUEST.len()).copied().unwrap_or(b'x');
            *at += 1;
            let written = stream.write(&[octet]);
            said.fetch_add(u64::from(matches!(written, Ok(1))), Ordering::Relaxed);
            // One that is full says nothing this second.
            written.is_ok() || written.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        // Who is thrown out comes again, as long as the second lasts.
        while open.len() < CONNECTIONS && !second.passed() && !over.load(Ordering::Relaxed) {
            match connect(from, to) {
                Ok(stream) => open.push((stream, 0)),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        std::thread::sleep(second.left());
    }
}

fn connect(from: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into()).context("bind")?;
    socket.connect_timeout(&to.into(), CONNECT).context("connect")?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn connections_come_from_ten_addresses() {
        if descriptors(3 * 10_000) < 3 * 10_000 {
            eprintln!("this process may not open enough files");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let seen = std::thread::spawn(move || {
            let mut seen = std::collections::BTreeSet::new();
            let mut kept = vec![];
            while seen.len() < usize::from(ADDRESSES) && kept.len() < 20_000 {
                let (stream, from) = listener.accept().unwrap();
                seen.insert(from.ip());
                kept.push(stream);
            }
            seen.len()
        });
        let flood = Dribble::start(to).unwrap();
        assert_eq!(seen.join().unwrap(), usize::from(ADDRESSES));
        flood.stop();
    }
}
