//! Floods of datagrams: messages that differ in their branch alone, at a pace.

use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use testkit::clock::now_ms;

/// Address of strangers: of loopback, and no trunk's.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
const TRUNK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Digits in place of which each message has its number.
const NUMBER: &str = "0000000000";
/// Messages that are sent without a look at the clock.
const BURST: u64 = 64;

/// A flood that runs.
pub struct Datagrams {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Datagrams {
    /// A Via of 31 KB in 15,000 parameters.
    pub fn long_via(to: SocketAddr) -> Result<Datagrams> {
        Datagrams::start(STRANGER, to, &options(STRANGER, &";a".repeat(15_000), ""), Some(2_000))
    }

    /// A message of the size of a packet whose Vias make 1,320 octets.
    pub fn vias(to: SocketAddr) -> Result<Datagrams> {
        let via = "Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKx\r\n";
        let more = via.repeat((1_320 / via.len()).saturating_sub(1));
        Datagrams::start(STRANGER, to, &options(STRANGER, "", &more), Some(10_000))
    }

    /// Plain OPTIONS without a pause.
    pub fn options(to: SocketAddr) -> Result<Datagrams> {
        Datagrams::start(STRANGER, to, &options(STRANGER, "", ""), None)
    }

    /// OPTIONS of the trunk.
    pub fn trunk(to: SocketAddr) -> Result<Datagrams> {
        Datagrams::start(TRUNK, to, &options(TRUNK, "", ""), Some(20_000))
    }

    fn start(from: IpAddr, to: SocketAddr, message: &str, rate: Option<u64>) -> Result<Datagrams> {
        let socket = UdpSocket::bind((from, 0)).with_context(|| format!("a socket at {from}"))?;
        // Answers find no reader; their socket fills and they are dropped.
        let place = message.find(NUMBER).context("a message without a number")?;
        let mut octets = message.as_bytes().to_vec();
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (over.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let (began, mut number) = (now_ms(), 0u64);
            while !ends.load(Ordering::Relaxed) {
                let due = rate.map_or(number + BURST, |rate| (now_ms() - began) * rate / 1_000);
                if due <= number {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                for number in number..due.min(number + BURST) {
                    octets[place..place + NUMBER.len()].copy_from_slice(format!("{number:010}").as_bytes());
                    let _ = socket.send_to(&octets, to);
                }
                number = due.min(number + BURST);
                counts.store(number, Ordering::Relaxed);
            }
        });
        Ok(Datagrams { over, sent, thread })
    }

    /// Ends it; gives how many messages were sent.
    pub fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.sent.load(Ordering::Relaxed)
    }
}

/// A request that anybody may send, with parameters behind its branch and further headers.
fn options(from: IpAddr, parameters: &str, headers: &str) -> String {
    format!(
        "OPTIONS sip:im.example.net SIP/2.0\r\nVia: SIP/2.0/UDP {from}:5070;branch=z9hG4bK{NUMBER}{parameters}\r\n{headers}\
         Max-Forwards: 70\r\nFrom: <sip:x@{from}>;tag={NUMBER}\r\nTo: <sip:im.example.net>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_and_keep_their_pace() {
        let reader = UdpSocket::bind("127.0.0.1:0").unwrap();
        reader.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let flood = Datagrams::trunk(reader.local_addr().unwrap()).unwrap();
        let (mut first, mut second) = ([0; 1_000], [0; 1_000]);
        let sizes = [reader.recv(&mut first).unwrap(), reader.recv(&mut second).unwrap()];
        assert_eq!(sizes[0], sizes[1]);
        assert_ne!(first, second);
        std::thread::sleep(Duration::from_millis(500));
        let sent = flood.stop();
        assert!((2_000..=60_000).contains(&sent), "{sent} in half a second of 20,000 a second");
    }

    #[test]
    fn messages_are_as_large_as_their_names_say() {
        let long = options(STRANGER, &";a".repeat(15_000), "");
        assert!((30_000..32_000).contains(&long.len()), "{}", long.len());
        assert_eq!(long.matches(";a").count(), 15_000);
    }
}
